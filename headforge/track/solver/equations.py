"""Gauss-Newton: analytic Jacobians, normal equations in blocks, and their solution by Schur complement."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headforge.geometry.rotations import skew
from headforge.track.solver.basis import LandmarkBasis
from headforge.track.solver.moment_kernel import moment_sums
from headforge.track.solver.outline import N_FEATURES, N_JAW_LINE
from headforge.track.solver.prior import prior_terms
from headforge.track.solver.problem import MIN_DEPTH_M, N_JAW, N_POSE, Geometry, Kernel, Problem
from headforge.track.solver.state import FitState


@dataclass(frozen=True)
class NormalSystem:
    """Normal equations in blocks: n unknowns per view (rotation, translation, jaw, expression), m = 1 + S shared.

    The shared unknowns are log focal length and shape. For views of one moment n = 6, and jaw and expression come first
    among the shared unknowns.
    """

    local: Tensor
    """[V, n, n]."""
    cross: Tensor
    """[V, n, m]."""
    shared: Tensor
    """[m, m]."""
    local_gradient: Tensor
    """[V, n]."""
    shared_gradient: Tensor
    """[m]."""


@dataclass(frozen=True)
class ScreenColumns:
    """Derivatives of the residuals by pose, focal length and position; V views, L points, in the Jacobian's dtype."""

    pose: Tensor
    """[V, 2, L, 6] by the view's rotation (a left-multiplied rotation vector in camera axes) and translation."""
    focal: Tensor
    """[V, 2, L] by the log focal length."""
    head: Tensor
    """[V, 2, L, 3] by the landmark's position on the fixed head."""


def screen_columns(problem: Problem, state: FitState, geometry: Geometry) -> ScreenColumns:
    """Return the Jacobian of the projection."""
    dtype = problem.settings.jacobian_dtype
    local, rotated = geometry.local.to(dtype), geometry.rotated.to(dtype)
    inverse_depth = 1 / local[..., 2].clamp_min(MIN_DEPTH_M)
    focal_over_depth = float(state.log_focal.exp()) * inverse_depth
    centred = focal_over_depth[..., None] * local[..., :2]
    screen = local.new_zeros(len(local), 2, local.shape[1], 3)
    screen[:, 0, :, 0] = focal_over_depth
    screen[:, 1, :, 1] = focal_over_depth
    screen[..., 2] = -(inverse_depth[..., None] * centred).transpose(1, 2)
    turn = torch.linalg.cross(rotated[:, None].expand_as(screen), screen)
    pose = torch.cat([turn, screen], dim=-1)
    return ScreenColumns(pose, centred.transpose(1, 2), screen @ state.rotation.to(dtype)[:, None])


def jacobian(problem: Problem, state: FitState, geometry: Geometry) -> Tensor:
    """Return the Jacobian [V, 2, L, 6 + 3 + E + 1 + S]: rotation, translation, jaw, expression, log focal, shape."""
    basis, dtype = problem.basis, problem.settings.jacobian_dtype
    n_shape, n_views = basis.n_shape, len(state.rotation)
    columns = screen_columns(problem, state, geometry)
    hinged = columns.head @ geometry.jaw_change.to(dtype)[:, None]
    maps = torch.cat([basis.plain[..., 1:], basis.carried[..., 1:]], dim=1).to(dtype)
    both = torch.cat([columns.head, hinged], dim=-1)
    if problem.rows is None:
        flat = both.permute(2, 0, 1, 3).flatten(1, 2)
        coefficients = (flat @ maps).unflatten(1, (n_views, 2)).permute(1, 2, 0, 3)
    else:
        coefficients = (both.transpose(1, 2) @ maps[problem.rows]).transpose(1, 2)
    focal_column = N_POSE + N_JAW + basis.n_expr
    out = columns.head.new_empty(*columns.head.shape[:3], focal_column + 1 + n_shape)
    out[..., :6] = columns.pose
    moved = problem.own_points(jaw_derivative(basis, state, geometry)).to(dtype)
    out[..., 6:9] = (columns.head.transpose(1, 2) @ moved).transpose(1, 2)
    out[..., 9:focal_column] = coefficients[..., n_shape:]
    out[..., focal_column] = columns.focal
    out[..., focal_column + 1 :] = coefficients[..., :n_shape]
    return out


def jaw_derivative(basis: LandmarkBasis, state: FitState, geometry: Geometry) -> Tensor:
    """Return the derivative [M, P, 3, 3] of the points by the jaw: d(R - 1) on the carried part plus the pose
    feature's."""
    rotation = geometry.jaw_change + torch.eye(3, dtype=state.jaw.dtype, device=state.jaw.device)
    right = right_jacobian(state.jaw)
    change = rotation[:, None] @ skew(right.transpose(1, 2))
    moved = torch.einsum("vkab,vlb->vlak", change, geometry.carried)
    feature = change.flatten(2)
    pose = torch.einsum("lcf,vkf->vlck", basis.plain_pose, feature)
    carried_pose = torch.einsum("lcf,vkf->vlck", basis.carried_pose, feature)
    return moved + pose + geometry.jaw_change[:, None] @ carried_pose


def right_jacobian(axis_angle: Tensor) -> Tensor:
    """Return J [*, 3, 3] with R(w + d) = R(w) (1 + skew(J d)) to first order; exact at zero."""
    square = axis_angle.square().sum(-1)[..., None, None]
    small = square < 1e-6
    safe = torch.where(small, torch.ones_like(square), square)
    angle = safe.sqrt()
    first = torch.where(small, 0.5 - square / 24, (1 - angle.cos()) / safe)
    second = torch.where(small, 1 / 6 - square / 120, (angle - angle.sin()) / (safe * angle))
    k = skew(axis_angle)
    return torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device) - first * k + second * (k @ k)


def normal_equations(
    problem: Problem, state: FitState, residuals: Tensor, geometry: Geometry, kernel: Kernel
) -> NormalSystem:
    """Return J^T W J and J^T W r with the priors, in blocks."""
    scaled = residuals / problem.settings.sigma_px
    weight = problem.weights * kernel.weight(scaled.square().sum(-1))
    is_fused = problem.settings.jacobian_dtype == torch.float32 and residuals.is_cpu
    of_moment = fused_moment_blocks if is_fused else moment_blocks
    build = of_moment if problem.settings.one_moment else column_blocks
    return _with_priors(problem, state, build(problem, state, residuals, geometry, weight))


def column_blocks(
    problem: Problem, state: FitState, residuals: Tensor, geometry: Geometry, weight: Tensor
) -> NormalSystem:
    """Return the data term's blocks from the full Jacobian; `weight` [V, L] multiplies squared residuals in sigmas."""
    dtype, n_local = problem.settings.jacobian_dtype, problem.n_local
    root = (weight.sqrt() / problem.settings.sigma_px).to(dtype)[:, None]
    columns = jacobian(problem, state, geometry).mul_(root[..., None]).flatten(1, 2)
    error = (residuals.transpose(1, 2).to(dtype) * root).flatten(1)
    products = (columns[..., :n_local].transpose(1, 2) @ columns).double()
    shared_columns = columns[..., n_local:].flatten(0, 1)
    gradient = (columns.transpose(1, 2) @ error[..., None])[..., 0].double()
    return NormalSystem(
        local=products[..., :n_local],
        cross=products[..., n_local:].contiguous(),
        shared=(shared_columns.T @ shared_columns).double(),
        local_gradient=gradient[:, :n_local],
        shared_gradient=gradient[:, n_local:].sum(0),
    )


def moment_blocks(
    problem: Problem, state: FitState, residuals: Tensor, geometry: Geometry, weight: Tensor
) -> NormalSystem:
    """Return the same blocks for views of one moment, without forming the Jacobian.

    All views see one set of 3-D points X(c): with D = dX/dc, every block is D times a factor of 3 columns per point,
    summed over the views first.
    """
    basis, dtype, rows = problem.basis, problem.settings.jacobian_dtype, problem.rows
    columns = screen_columns(problem, state, geometry)
    scale = (weight / problem.settings.sigma_px**2).to(dtype)[:, None, :, None]
    error = residuals.transpose(1, 2).to(dtype)
    small = torch.cat([columns.pose, columns.focal[..., None], error[..., None]], dim=-1)
    weighted = small * scale
    products = (weighted.flatten(1, 2).transpose(1, 2) @ small.flatten(1, 2)).double()
    derivative = moment_derivative(basis, state, geometry, dtype)
    head = columns.head.transpose(2, 3).contiguous()
    mixed = _times_points(_outer(weighted.transpose(2, 3).contiguous(), head), derivative, rows).double()
    metric = _sum_over_views(_outer(head * scale.transpose(2, 3), head), derivative.shape[1], rows)
    weighed = torch.stack([(metric[axis, ..., None] * derivative).sum(0) for axis in range(3)])
    inner = (derivative.flatten(0, 1).T @ weighed.flatten(0, 1)).double()
    return _moment_system(basis, products, mixed, inner)


def fused_moment_blocks(
    problem: Problem, state: FitState, residuals: Tensor, geometry: Geometry, weight: Tensor
) -> NormalSystem:
    """Return `moment_blocks` in one pass over the points, in float32 on the CPU. Raises DeviceError elsewhere."""
    derivative = moment_derivative(problem.basis, state, geometry, torch.float32)
    scale = weight / problem.settings.sigma_px**2
    sums = moment_sums(problem, state, residuals, geometry, scale, derivative)
    return _moment_system(problem.basis, sums.products, sums.mixed, sums.inner)


def _moment_system(basis: LandmarkBasis, products: Tensor, mixed: Tensor, inner: Tensor) -> NormalSystem:
    """Return the blocks from products of pose, focal length and residual columns, alone and with the head's
    derivatives."""
    row = N_JAW + basis.n_expr
    shared = inner.new_zeros(len(inner) + 1, len(inner) + 1)
    kept = [i for i in range(len(shared)) if i != row]
    places = torch.tensor(kept, device=shared.device)
    shared[places[:, None], places] = inner
    shared[row, kept] = shared[kept, row] = mixed[:, 6].sum(0)
    shared[row, row] = products[:, 6, 6].sum()
    gradient = mixed[:, 7].sum(0)
    return NormalSystem(
        local=products[:, :6, :6],
        cross=torch.cat([mixed[:, :6, :row], products[:, :6, 6:7], mixed[:, :6, row:]], dim=-1),
        shared=shared,
        local_gradient=products[:, :6, 7],
        shared_gradient=torch.cat([gradient[:row], products[:, 6, 7].sum()[None], gradient[row:]]),
    )


def _outer(a: Tensor, b: Tensor) -> Tensor:
    """Return the products [V, I, J, L] of [V, 2, I, L] and [V, 2, J, L], summed over the two image coordinates."""
    return a[:, 0, :, None] * b[:, 0, None] + a[:, 1, :, None] * b[:, 1, None]


def _times_points(values: Tensor, derivative: Tensor, rows: Tensor | None) -> Tensor:
    """Return the contraction [V, I, C] of values [V, I, 3, L] and derivatives [3, P, C] at each view's `rows`."""
    if rows is None:
        return values.flatten(2) @ derivative.flatten(0, 1)
    features = values[..., N_JAW_LINE:].flatten(2) @ derivative[:, :N_FEATURES].flatten(0, 1)
    jaw_line = values[..., :N_JAW_LINE].transpose(2, 3).flatten(2)
    return features + jaw_line @ derivative.transpose(0, 1)[rows[:, :N_JAW_LINE]].flatten(1, 2)


def _sum_over_views(values: Tensor, n_points: int, rows: Tensor | None) -> Tensor:
    """Return values [V, 3, 3, L] summed to [3, 3, P] over the views that see each of the P points."""
    if rows is None:
        return values.sum(0)
    total = values.new_zeros(3, 3, n_points)
    total[..., :N_FEATURES] = values[..., N_JAW_LINE:].sum(0)
    jaw_line = values[..., :N_JAW_LINE].permute(1, 2, 0, 3).flatten(2)
    return total.index_add_(2, rows[:, :N_JAW_LINE].flatten(), jaw_line)


def moment_derivative(basis: LandmarkBasis, state: FitState, geometry: Geometry, dtype: torch.dtype) -> Tensor:
    """Return the derivative [3, P, 3 + E + S] of the points of a single moment by jaw, expression, shape."""
    if dtype == torch.float32:
        plain, carried = basis.in_order_float32
    else:
        plain, carried = basis.in_order(dtype)
    turned = (geometry.jaw_change[0].to(dtype) @ carried.flatten(1)).unflatten(1, carried.shape[1:])
    jaw = jaw_derivative(basis, state, geometry)[0].to(dtype).transpose(0, 1)
    return torch.cat([jaw, plain + turned], dim=-1)


def _with_priors(problem: Problem, state: FitState, system: NormalSystem) -> NormalSystem:
    focal, shape, expr, jaw = prior_terms(problem.basis, problem.settings, state)
    local, shared = system.local.clone(), system.shared.clone()
    local_gradient, shared_gradient = system.local_gradient.clone(), system.shared_gradient.clone()
    row = len(shared) - 1 - problem.basis.n_shape
    shared[row + 1 :, row + 1 :] += shape.hessian
    shared_gradient[row + 1 :] += shape.gradient
    shared[row, row] += focal.hessian
    shared_gradient[row] += focal.gradient
    if problem.settings.one_moment:
        shared[:3, :3] += jaw.hessian[0]
        shared_gradient[:3] += jaw.gradient[0]
        shared[3:row, 3:row] += expr.hessian[0]
        shared_gradient[3:row] += expr.gradient[0]
    else:
        local[:, 6:9, 6:9] += jaw.hessian
        local_gradient[:, 6:9] += jaw.gradient
        local[:, 9:, 9:] += expr.hessian
        local_gradient[:, 9:] += expr.gradient
    cross = system.cross
    if problem.settings.focal_known:
        cross = cross.clone()
        cross[..., row] = 0
        shared[row, :] = 0
        shared[:, row] = 0
        shared[row, row] = 1
        shared_gradient[row] = 0
    return NormalSystem(local, cross, shared, local_gradient, shared_gradient)


def solve_step(system: NormalSystem, damping: float) -> tuple[Tensor, Tensor] | None:
    """Return the damped step (local [V, n], shared [m]) by Schur complement; None if not positive definite."""
    local = system.local + damping * torch.diag_embed(system.local.diagonal(dim1=-2, dim2=-1))
    factor, info = torch.linalg.cholesky_ex(local)
    if int(info.abs().sum()) != 0:
        return None
    right = torch.cat([system.cross, system.local_gradient[..., None]], dim=-1)
    solved = torch.cholesky_solve(right, factor)
    # One product over all views and rows; it includes the sum over views.
    reduction = system.cross.flatten(0, 1).T @ solved.flatten(0, 1)
    schur = system.shared + damping * torch.diag(system.shared.diagonal()) - reduction[:, :-1]
    factor, info = torch.linalg.cholesky_ex((schur + schur.T) / 2)
    if int(info) != 0:
        return None
    shared = -torch.cholesky_solve((system.shared_gradient - reduction[:, -1])[:, None], factor)[:, 0]
    return -solved[..., -1] - solved[..., :-1] @ shared, shared
