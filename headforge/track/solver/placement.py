"""Placement of a head in a rig of known cameras by one similarity.

The cameras have their own world, such as a generator's, with arbitrary axes and unit of length. Camera v (world to
camera R_v, t_v) sees a point of the head at rest, x in metres, at

    R_v (R x + u) + q t_v,

with the head's rotation R, its position u in metres, and q metres per world unit. The similarity's scale is applied to
the cameras, where it changes no picture, because FLAME's parameters cannot represent it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headforge.geometry.rotations import axis_angle_to_matrix
from headforge.track.solver.equations import NormalSystem, solve_step
from headforge.track.solver.problem import N_POSE
from headforge.track.solver.state import FitState
from headforge.types import Camera

N_PLACE = 7
"""Unknowns of a placement: rotation 3, position 3, log unit 1."""
AGREEMENT_COSINE = 0.866
"""Two views agree on the head's rotation if their estimates are within 30 degrees; each has an error of about 10."""


@dataclass(frozen=True)
class Rig:
    """The known cameras of V views, world to camera, float64."""

    rotation: Tensor
    """[V, 3, 3]."""
    translation: Tensor
    """[V, 3] in units of the world."""

    @staticmethod
    def of(camera: Camera) -> Rig:
        """Return the poses of cameras [V]; rotations stored as float32 are made orthonormal to float64."""
        u, _, vh = torch.linalg.svd(camera.viewmat[:, :3, :3].double())
        return Rig(u @ vh, camera.viewmat[:, :3, 3].double())

    def __getitem__(self, rows: Tensor) -> Rig:
        """Return the selected views."""
        return Rig(self.rotation[rows], self.translation[rows])


@dataclass(frozen=True)
class Placement:
    """Pose of the head in the rig's world, float64."""

    rotation: Tensor
    """[3, 3] head to world."""
    place: Tensor
    """[3] the head's origin in the world, metres."""
    unit_m: Tensor
    """[] metres per unit of the world."""

    def poses(self, rig: Rig) -> tuple[Tensor, Tensor]:
        """Return the head-to-camera rotation [V, 3, 3] and translation [V, 3] in metres."""
        return rig.rotation @ self.rotation, rig.rotation @ self.place + self.unit_m * rig.translation


def solve_place(rig: Rig, translation: Tensor) -> tuple[Tensor, Tensor]:
    """Return the position [3] and unit [] that best fit head-to-camera translations [V, 3] of at least two centres."""
    columns = torch.cat([rig.rotation, rig.translation[..., None]], dim=-1).flatten(0, 1)
    found = torch.linalg.lstsq(columns, translation.flatten()[:, None]).solution[:, 0]
    return found[:3], found[3]


def placement_of(rig: Rig, state: FitState) -> Placement:
    """Return the placement of a state whose poses follow one."""
    place, unit = solve_place(rig, state.translation)
    return Placement(rig.rotation[0].T @ state.rotation[0], place, unit)


def initial_placement(rig: Rig, rotation: Tensor, translation: Tensor) -> tuple[Placement, Tensor]:
    """Return a placement from per-view head-to-camera guesses [V, 3, 3] and [V, 3], and the views that agree [V] bool.

    The view that agrees with most others determines the trusted set; a spurious face, such as one that a generator
    paints on the back of the head, is excluded. A negative unit means that the cameras and the faces are inconsistent.
    """
    answers = rig.rotation.transpose(1, 2) @ rotation
    cosine = (answers.flatten(1) @ answers.flatten(1).T - 1) / 2
    agree = cosine > AGREEMENT_COSINE
    best = int((agree.sum(1) + cosine.sum(1) / len(cosine)).argmax())
    trusted = agree[best]
    u, _, vh = torch.linalg.svd(answers[trusted].mean(0))
    turn = u @ torch.diag(u.new_tensor([1.0, 1.0, float(torch.linalg.det(u @ vh))])) @ vh
    place, unit = solve_place(rig[trusted], translation[trusted])
    return Placement(turn, place, unit), trusted


def pose_ties(rig: Rig, placement: Placement) -> Tensor:
    """Return the derivative [V, 6, 7] of each view's rotation and translation by rotation, position and log unit.

    Rotations multiply from the left: the view's in camera axes, the placement's in world axes.
    """
    ties = rig.rotation.new_zeros(len(rig.rotation), N_POSE, N_PLACE)
    ties[:, :3, :3] = rig.rotation
    ties[:, 3:, 3:6] = rig.rotation
    ties[:, 3:, 6] = placement.unit_m * rig.translation
    return ties


def tie_views(system: NormalSystem, ties: Tensor) -> NormalSystem:
    """Return the normal equations with the placement in place of the views' poses, first among the shared unknowns."""
    transposed = ties.transpose(1, 2)
    pose, pose_shared = system.local[:, :N_POSE, :N_POSE], system.cross[:, :N_POSE]
    placed = (transposed @ pose @ ties).sum(0)
    mixed = (transposed @ pose_shared).sum(0)
    return NormalSystem(
        local=system.local[:, N_POSE:, N_POSE:],
        cross=torch.cat([system.local[:, N_POSE:, :N_POSE] @ ties, system.cross[:, N_POSE:]], dim=-1),
        shared=torch.cat([torch.cat([placed, mixed], dim=1), torch.cat([mixed.T, system.shared], dim=1)]),
        local_gradient=system.local_gradient[:, N_POSE:],
        shared_gradient=torch.cat(
            [(transposed @ system.local_gradient[:, :N_POSE, None]).sum(0)[:, 0], system.shared_gradient]
        ),
    )


def move_placement(placement: Placement, step: Tensor) -> Placement:
    """Return the placement after a step [7] of the tied equations."""
    return Placement(
        axis_angle_to_matrix(step[:3]) @ placement.rotation,
        placement.place + step[3:6],
        placement.unit_m * step[6].exp(),
    )


@dataclass(frozen=True)
class AdvanceTied:
    """Step rule of a fit whose cameras are tied to a rig; pass it to `fit_subject` as `advance`."""

    rig: Rig

    def __call__(self, system: NormalSystem, state: FitState, damping: float) -> FitState | None:
        """Return the state after one step; None if the tied system isn't positive definite."""
        placement = placement_of(self.rig, state)
        solved = solve_step(tie_views(system, pose_ties(self.rig, placement)), damping)
        if solved is None:
            return None
        inner, shared = solved
        rotation, translation = move_placement(placement, shared[:N_PLACE]).poses(self.rig)
        return replace(
            state,
            shape=state.shape + shared[len(shared) - len(state.shape) :],
            rotation=rotation,
            translation=translation,
            **_moved_face(state, inner, shared[N_PLACE:]),
        )


def _moved_face(state: FitState, inner: Tensor, shared: Tensor) -> dict[str, Tensor]:
    """Return the jaw and expression after a step; for views of one moment they are shared unknowns, else per view."""
    row = len(shared) - 1 - len(state.shape)
    face = shared[None, :row] if row else inner
    return {"jaw": state.jaw + face[:, :3], "expr": state.expr + face[:, 3:]}
