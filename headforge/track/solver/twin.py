"""Reference implementation of the solver by automatic differentiation and one dense system, to check the fast one."""

from __future__ import annotations

import torch
from torch import Tensor

from headforge.flame.model import HeadModel, landmarks, pose_head
from headforge.geometry.rotations import axis_angle_to_matrix
from headforge.track.solver.equations import NormalSystem
from headforge.track.solver.state import FitState
from headforge.types import HeadParams


def project_with_head(head: HeadModel, state: FitState) -> Tensor:
    """Return the landmarks [V, 68, 2] in pixels from the principal point, by posing the full head (float32 tables)."""
    n_views = len(state.jaw)
    still = state.jaw.new_zeros(n_views, 3, dtype=torch.float32)
    params = HeadParams(
        head.model_id,
        shape=state.shape.expand(n_views, -1).float(),
        expr=state.expr.float(),
        rotation=still,
        neck=still,
        jaw=state.jaw.float(),
        eyes=still.repeat(1, 2),
        translation=still,
    )
    points = landmarks(head, pose_head(head, params)).to(state.shape.dtype)
    local = points @ state.rotation.transpose(1, 2) + state.translation[:, None]
    return state.log_focal.exp() * local[..., :2] / local[..., 2:]


def moved(state: FitState, step: Tensor) -> FitState:
    """Return the state after a step [V * n + m]: each view's pose, jaw, expression, then log focal and shape.

    With one moment for all views, jaw and expression come once, before log focal.
    """
    n_views, n_shape = len(state.rotation), len(state.shape)
    n_inner = 3 + state.expr.shape[1]
    one_moment = len(state.expr) == 1 and len(step) == n_views * 6 + n_inner + 1 + n_shape
    n_local = 6 if one_moment else 6 + n_inner
    local = step[: n_views * n_local].reshape(n_views, n_local)
    inner = step[n_views * 6 :][:n_inner][None] if one_moment else local[:, 6:]
    return FitState(
        state.log_focal + step[-1 - n_shape],
        state.shape + step[-n_shape:],
        state.expr + inner[:, 3:],
        state.jaw + inner[:, :3],
        axis_angle_to_matrix(local[:, :3]) @ state.rotation,
        state.translation + local[:, 3:6],
    )


def dense_system(system: NormalSystem) -> tuple[Tensor, Tensor]:
    """Return the block normal equations as a dense matrix [V * n + m, V * n + m] and gradient."""
    n_views, n_local, n_shared = system.cross.shape
    size = n_views * n_local
    matrix = system.shared.new_zeros(size + n_shared, size + n_shared)
    for view in range(n_views):
        rows = slice(view * n_local, (view + 1) * n_local)
        matrix[rows, rows] = system.local[view]
        matrix[rows, size:] = system.cross[view]
        matrix[size:, rows] = system.cross[view].T
    matrix[size:, size:] = system.shared
    return matrix, torch.cat([system.local_gradient.flatten(), system.shared_gradient])


def dense_step(system: NormalSystem, damping: float) -> tuple[Tensor, Tensor]:
    """Return the step of `solve_step` by one dense solve."""
    matrix, gradient = dense_system(system)
    n_views, n_local, _ = system.cross.shape
    step = -torch.linalg.solve(matrix + damping * torch.diag(matrix.diagonal()), gradient)
    return step[: n_views * n_local].reshape(n_views, n_local), step[n_views * n_local :]
