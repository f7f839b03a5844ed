"""Conversion of per-frame camera poses to a fixed camera and a moving head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from headforge.flame.model import HeadModel
from headforge.geometry.cameras import pinhole_matrix
from headforge.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from headforge.track.solver.basis import LandmarkBasis
from headforge.track.solver.problem import FitState
from headforge.types import Camera, HeadParams

FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
"""World to camera axes of a camera on the +z axis that looks at the head."""


def still_camera(state: FitState, width: int, height: int) -> Camera:
    """Return a camera in front of the head at the film's median depth, unbatched float32."""
    viewmat = torch.eye(4)
    viewmat[:3, :3] = FACING.float()
    viewmat[2, 3] = state.translation[:, 2].median().float()
    return Camera(pinhole_matrix(float(state.log_focal.exp()), width, height), viewmat, width, height)


def moving_head(head: HeadModel, basis: LandmarkBasis, state: FitState, camera: Camera) -> HeadParams:
    """Return parameters [V] whose view in the fixed camera equals that of a head at rest in the state's cameras.

    The pose is stored in `rotation`, about joint 0, and `translation`; the neck and the eyes stay at rest.
    """
    rotation = FACING @ state.rotation
    shift = (state.translation - camera.viewmat[:3, 3].double()) @ FACING
    shape = (basis.shape_map @ state.shape).expand(len(rotation), -1)
    expr = state.expr @ basis.expr_map.T
    template = torch.cat([head.v_template[..., None], head.shapedirs], dim=-1)
    joint_map = torch.einsum("v,vcn->cn", head.joint_regressor[0].double(), template.double())
    joint = joint_map[:, 0] + torch.cat([shape, expr], dim=-1) @ joint_map[:, 1:].T
    turned = (rotation @ joint[..., None])[..., 0]
    return replace(
        head.neutral((len(rotation),)),
        shape=shape.float(),
        expr=expr.float(),
        jaw=state.jaw.float(),
        rotation=matrix_to_axis_angle(rotation).float(),
        translation=(shift + turned - joint).float(),
    )


def fill_gaps(params: HeadParams, rows: np.ndarray, n_frames: int) -> HeadParams:
    """Interpolate parameters [n_frames] from those [V] at the frames `rows`, rotations along the shortest arc.

    Before the first and after the last known frame the values are constant.
    """
    times = np.arange(n_frames)
    after = np.searchsorted(rows, times).clip(0, len(rows) - 1)
    before = np.where(rows[after] == times, after, (after - 1).clip(0))
    before, after = np.where(times < rows[0], 0, before), np.where(times > rows[-1], len(rows) - 1, after)
    span = np.maximum(rows[after] - rows[before], 1)
    share = torch.from_numpy(((times - rows[before]) / span).clip(0, 1)).float()[:, None]
    a, b = params[torch.from_numpy(before)], params[torch.from_numpy(after)]
    mixed = {name: torch.lerp(value, getattr(b, name), share) for name, value in a.tensors().items()}
    mixed["rotation"] = _between(a.rotation, b.rotation, share)
    filled = HeadParams(params.model_id, **mixed)
    exact = torch.from_numpy(rows)
    for name, value in filled.tensors().items():
        value[exact] = getattr(params, name)
    return filled


def _between(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    start, end = axis_angle_to_matrix(a.double()), axis_angle_to_matrix(b.double())
    step = matrix_to_axis_angle(end @ start.transpose(1, 2))
    return matrix_to_axis_angle(axis_angle_to_matrix(share.double() * step) @ start).float()


def second_differences(params: HeadParams, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pose's second differences over consecutive frames of `rows`: rotation [N] degrees, position [N] mm.

    The position is that of the head's origin, not of the joint it rotates about.
    """
    middle = rows[1:-1][(np.diff(rows)[1:] == 1) & (np.diff(rows)[:-1] == 1)]
    rotation = axis_angle_to_matrix(params.rotation.double())
    r0, r1, r2 = (rotation[torch.from_numpy(middle + k)] for k in (-1, 0, 1))
    turn = matrix_to_axis_angle(r2 @ r1.transpose(1, 2)) - matrix_to_axis_angle(r1 @ r0.transpose(1, 2))
    place = params.translation.double()
    p0, p1, p2 = (place[torch.from_numpy(middle + k)] for k in (-1, 0, 1))
    return torch.rad2deg(turn.norm(dim=-1)).numpy(), 1000 * (p2 - 2 * p1 + p0).norm(dim=-1).numpy()
