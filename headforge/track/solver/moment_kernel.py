"""Fast float32 twin of `equations.moment_blocks`: one pass over the points for views of one moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headforge.devices import require_cpu
from headforge.render.jit import kernel
from headforge.track.solver.problem import MIN_DEPTH_M, Geometry, Problem
from headforge.track.solver.state import FitState

N_SMALL = 8
"""Columns common to all landmarks: rotation 3, translation 3, log focal length, residual."""
MIN_DEPTH = np.float32(MIN_DEPTH_M)
ZERO, ONE = np.float32(0), np.float32(1)


@dataclass(frozen=True)
class MomentSums:
    """Sums over the points, float64; V views, C derivatives of the head."""

    products: Tensor
    """[V, 8, 8] of the shared columns with each other."""
    mixed: Tensor
    """[V, 8, C] of the shared columns with the head's."""
    inner: Tensor
    """[C, C] of the head's columns with each other, over all views."""


def moment_sums(
    problem: Problem, state: FitState, residuals: Tensor, geometry: Geometry, scale: Tensor, derivative: Tensor
) -> MomentSums:
    """Return weighted sums of products of the Jacobian's columns, without forming the Jacobian.

    `scale` [V, L] multiplies squared pixels, `derivative` [3, P, C] is that of the points by the head's shared
    unknowns. Raises DeviceError unless all are on the CPU.
    """
    require_cpu("the solver's fast kernel", residuals=residuals, scale=scale, derivative=derivative)
    n_views, n_points = scale.shape
    rows = np.arange(n_points)[None].repeat(n_views, 0) if problem.rows is None else problem.rows.numpy()
    by_point = derivative.permute(1, 0, 2).float().contiguous().numpy()
    n_columns = by_point.shape[2]
    products = np.zeros((n_views, N_SMALL, N_SMALL), np.float32)
    mixed = np.zeros((n_views, N_SMALL, n_columns), np.float32)
    metric = np.zeros((len(by_point), 3, 3), np.float32)
    inner = np.zeros((n_columns, n_columns), np.float32)
    _sum_views(
        _floats(geometry.local), _floats(geometry.rotated), _floats(state.rotation), _floats(residuals),
        _floats(scale), np.float32(float(state.log_focal.exp())), by_point, rows, products, mixed, metric,
    )  # fmt: skip
    _sum_points(by_point, metric, inner)
    return MomentSums(*(torch.from_numpy(sums).double() for sums in (products, mixed, inner)))


def _floats(values: Tensor) -> np.ndarray:
    return values.float().contiguous().numpy()


@kernel(error_model="numpy", fastmath={"contract"})
def _sum_views(local, rotated, rotation, residuals, scale, focal, derivative, rows, products, mixed, metric):
    """Sum `products`, `mixed` and each point's position `metric` [3, 3] over the views, in place."""
    small, head = np.zeros((2, N_SMALL), np.float32), np.zeros((2, 3), np.float32)
    n_columns = derivative.shape[2]
    for v in range(len(local)):
        for n in range(local.shape[1]):
            weight = scale[v, n]
            if weight == ZERO:
                continue
            _columns(local[v, n], rotated[v, n], rotation[v], focal, small, head)
            small[0, 7], small[1, 7] = residuals[v, n, 0], residuals[v, n, 1]
            p = rows[v, n]
            for j in range(3):
                for k in range(3):
                    metric[p, j, k] += weight * (head[0, j] * head[0, k] + head[1, j] * head[1, k])
            for i in range(N_SMALL):
                first, second = weight * small[0, i], weight * small[1, i]
                for j in range(N_SMALL):
                    products[v, i, j] += first * small[0, j] + second * small[1, j]
                x = first * head[0, 0] + second * head[1, 0]
                y = first * head[0, 1] + second * head[1, 1]
                z = first * head[0, 2] + second * head[1, 2]
                for c in range(n_columns):
                    mixed[v, i, c] += x * derivative[p, 0, c] + y * derivative[p, 1, c] + z * derivative[p, 2, c]


@kernel(error_model="numpy", fastmath={"contract"}, forceinline=True)
def _columns(local, rotated, rotation, focal, small, head):
    """Write a point's pixel derivatives by pose and log focal length into `small`, by position into `head`."""
    inverse = ONE / max(local[2], MIN_DEPTH)
    scale = focal * inverse
    for axis in range(2):
        x, y = (scale, ZERO) if axis == 0 else (ZERO, scale)
        z = -inverse * scale * local[axis]
        small[axis, 0] = rotated[1] * z - rotated[2] * y
        small[axis, 1] = rotated[2] * x - rotated[0] * z
        small[axis, 2] = rotated[0] * y - rotated[1] * x
        small[axis, 3], small[axis, 4], small[axis, 5] = x, y, z
        small[axis, 6] = scale * local[axis]
        for k in range(3):
            head[axis, k] = x * rotation[0, k] + y * rotation[1, k] + z * rotation[2, k]


@kernel(error_model="numpy", fastmath={"contract"})
def _sum_points(derivative, metric, inner):
    """Sum D^T M D over the points into `inner`, for derivatives D [3, C] and metrics M [3, 3]."""
    n_columns = derivative.shape[2]
    weighed = np.zeros((3, n_columns), np.float32)
    for p in range(len(derivative)):
        for j in range(3):
            for c in range(n_columns):
                weighed[j, c] = (
                    metric[p, j, 0] * derivative[p, 0, c]
                    + metric[p, j, 1] * derivative[p, 1, c]
                    + metric[p, j, 2] * derivative[p, 2, c]
                )
        for i in range(n_columns):
            x, y, z = derivative[p, 0, i], derivative[p, 1, i], derivative[p, 2, i]
            for c in range(n_columns):
                inner[i, c] += x * weighed[0, c] + y * weighed[1, c] + z * weighed[2, c]
