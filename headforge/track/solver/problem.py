"""The fitting problem: settings, unknowns, observations, and the cost with its priors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headforge.geometry.rotations import axis_angle_to_matrix
from headforge.track.solver.basis import LandmarkBasis
from headforge.track.solver.initialise import MEDIAN_TO_SIGMA
from headforge.track.solver.outline import N_JAW_LINE, Outline
from headforge.track.solver.prior import prior_value
from headforge.track.solver.state import FitSettings, FitState

N_POSE = 6
N_JAW = 3
MIN_DEPTH_M = 0.05
"""A candidate that puts a landmark nearer to the camera than this is rejected."""


@dataclass(frozen=True)
class Problem:
    """One subject's observations and the model that explains them."""

    basis: LandmarkBasis
    """Of P points."""
    points: Tensor
    """[V, L, 2] pixels from the principal point, float64."""
    weights: Tensor
    """[V, L] confidences; 0 hides a point."""
    settings: FitSettings
    outline: Outline | None = None
    """How the jaw line follows the turned head; None if the landmarks are fixed points of the head."""
    rows: Tensor | None = None
    """[V, L] each view's points among the P; None if the L are the P, in order. Set, with the basis, by `following`."""

    @property
    def n_local(self) -> int:
        """Unknowns of one view: rotation 3, translation 3 and, unless shared, jaw 3 and expression E."""
        return N_POSE if self.settings.one_moment else N_POSE + N_JAW + self.basis.n_expr

    def following(self, state: FitState) -> Problem:
        """Return the same problem with the jaw lines as seen by the state's cameras."""
        return self if self.outline is None else self._laid_out(self.outline, view_yaws_deg(state))

    def settled(self, state: FitState) -> Problem:
        """Return `following` with each view's yaw chosen within a degree by the best fit of its jaw line.

        Jaw lines change in steps of a degree and a yaw is accurate to a fraction of one, so rounding alone sometimes
        selects the wrong step.
        """
        if self.outline is None:
            return self
        yaws = view_yaws_deg(state)
        beside = torch.stack([yaws, yaws - 1, yaws + 1])
        whole = replace(self, basis=self.outline.basis)
        points = landmark_points(whole.basis, state)[0]
        costs = []
        for rows in self.outline.rows(beside)[..., :N_JAW_LINE]:
            own = replace(whole, rows=rows).own_points(points)
            residuals = _projected(state, own @ state.rotation.transpose(1, 2)) - self.points[:, :N_JAW_LINE]
            squares = residuals.square().sum(-1) / self.settings.sigma_px**2
            kept = squares.clamp_max(self.settings.outlier_sigmas**2)
            costs.append((self.weights[:, :N_JAW_LINE] * kept).sum(-1))
        best = torch.stack(costs).argmin(0)
        return self._laid_out(self.outline, beside.gather(0, best[None])[0])

    def _laid_out(self, outline: Outline, yaw_deg: Tensor) -> Problem:
        basis, rows = outline.layout(yaw_deg)
        return replace(self, basis=basis, rows=rows)

    def own_points(self, values: Tensor) -> Tensor:
        """Return each view's values [V, L, ...] from [M, P, ...] of M moments; without `rows` just [M, L, ...]."""
        if self.rows is None:
            return values
        return values[torch.arange(len(values), device=values.device)[:, None], self.rows]


@dataclass(frozen=True)
class Kernel:
    """Robust kernel rho: weights and cost of squared residual lengths in units of sigma."""

    scale_sq: Tensor
    """[] squared scale or threshold."""
    truncated: bool

    def weight(self, squares: Tensor) -> Tensor:
        """Return the derivative of rho by the squared length."""
        if self.truncated:
            return (squares <= self.scale_sq).to(squares.dtype)
        return (1 + squares / self.scale_sq).square().reciprocal()

    def rho(self, squares: Tensor) -> Tensor:
        """Return the robust squared length."""
        if self.truncated:
            return squares.minimum(self.scale_sq)
        return squares / (1 + squares / self.scale_sq)


@dataclass(frozen=True)
class Geometry:
    """Intermediates of the projection for the Jacobian; V views, L points."""

    carried: Tensor
    """[M, P, 3] points on which the jaw's rotation minus identity acts."""
    jaw_change: Tensor
    """[M, 3, 3] rotation of the jaw minus identity."""
    rotated: Tensor
    """[V, L, 3] points in camera axes, before the translation."""
    local: Tensor
    """[V, L, 3] points in the camera."""


def landmark_points(basis: LandmarkBasis, state: FitState) -> tuple[Tensor, Tensor, Tensor]:
    """Return the points on the fixed head and the part the jaw carries, both [M, P, 3], and the jaw's R - 1 [M, 3, 3].

    M is the number of moments: the number of views, or 1 if they share one.
    """
    n_shape = basis.n_shape
    jaw_change = axis_angle_to_matrix(state.jaw) - torch.eye(3, dtype=state.jaw.dtype, device=state.jaw.device)
    feature = jaw_change.flatten(1)

    def evaluate(maps: Tensor, pose: Tensor) -> Tensor:
        if len(state.expr) < len(state.rotation):
            coefficients = torch.cat([state.shape.new_ones(1), state.shape, state.expr[0]])
            return (maps @ coefficients + pose @ feature[0])[None]
        shared = maps[..., 0] + maps[..., 1 : 1 + n_shape] @ state.shape
        moved = state.expr @ maps[..., 1 + n_shape :].flatten(0, 1).T + feature @ pose.flatten(0, 1).T
        return shared + moved.unflatten(-1, (-1, 3))

    carried = evaluate(basis.carried, basis.carried_pose)
    return evaluate(basis.plain, basis.plain_pose) + carried @ jaw_change.transpose(1, 2), carried, jaw_change


def view_yaws_deg(state: FitState) -> Tensor:
    """Return the azimuth [V] of each view's camera about the head's origin."""
    centre = -(state.rotation.transpose(1, 2) @ state.translation[..., None])[..., 0]
    return torch.rad2deg(torch.atan2(centre[:, 0], centre[:, 2]))


def _projected(state: FitState, rotated: Tensor) -> Tensor:
    """Project points in camera axes, before the translation, to pixels [V, L, 2] from the principal point."""
    local = rotated + state.translation[:, None]
    return state.log_focal.exp() * local[..., :2] / local[..., 2:].clamp_min(MIN_DEPTH_M)


def project_state(problem: Problem, state: FitState) -> tuple[Tensor, Geometry]:
    """Return the residuals [V, L, 2] in pixels (predicted minus observed) and their geometry."""
    points, carried, jaw_change = landmark_points(problem.basis, state)
    rotated = problem.own_points(points) @ state.rotation.transpose(1, 2)
    local = rotated + state.translation[:, None]
    predicted = state.log_focal.exp() * local[..., :2] / local[..., 2:].clamp_min(MIN_DEPTH_M)
    return predicted - problem.points, Geometry(carried, jaw_change, rotated, local)


def choose_kernel(problem: Problem, residuals: Tensor, truncated: bool) -> Kernel:
    """Return the kernel whose scale follows the median residual, never tighter than the stated noise."""
    squares = residuals.square().sum(-1) / problem.settings.sigma_px**2
    median = _median(squares[problem.weights > 0])
    spread = (median.sqrt() * MEDIAN_TO_SIGMA).clamp_min(1.0)
    factor = problem.settings.outlier_sigmas if truncated else 3.0
    return Kernel((factor * spread).square(), truncated)


def _median(values: Tensor) -> Tensor:
    """Return the lower median of [N]; infinite without values."""
    return values.kthvalue((len(values) + 1) // 2).values if len(values) else values.new_tensor(math.inf)


def total_cost(problem: Problem, state: FitState, residuals: Tensor, kernel: Kernel) -> Tensor:
    """Return the robust data term plus priors, dimensionless."""
    squares = residuals.square().sum(-1) / problem.settings.sigma_px**2
    data = (problem.weights * kernel.rho(squares)).sum()
    return data + prior_value(problem.basis, problem.settings, state)
