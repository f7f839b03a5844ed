"""Multi-view landmark fitting: Levenberg-Marquardt with analytic Jacobians and Schur-eliminated views.

One subject is solved at a time with all its views stacked, so a result never depends on what else is in the shard. The
head is fixed (rotation, neck, eyes, translation zero): each view has its own camera pose, expression and jaw; shape and
focal length are shared (and expression and jaw too, if the views are of one moment). Gauss-Newton steps are built from
float32 Jacobians; residuals, the state and the small Cholesky solves are float64, so that the fixed point is the
float64 one.

Cost: sum over points of rho(|r| / sigma) + Gaussian priors on shape, expression, jaw and log focal length. rho is
Geman-McClure with a scale that follows the median residual at first, then a truncated square, whose optimum is the
plain least-squares fit of the inliers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from headforge.geometry.rotations import axis_angle_to_matrix
from headforge.track.solver.equations import NormalSystem, normal_equations, solve_step
from headforge.track.solver.initialise import weak_perspective
from headforge.track.solver.problem import (
    MIN_DEPTH_M,
    N_JAW,
    N_POSE,
    Geometry,
    Kernel,
    Problem,
    choose_kernel,
    project_state,
    total_cost,
)
from headforge.track.solver.state import FitState

SETTLING_ITERATION = 2
"""Iteration before which jaw lines that follow the outline are fixed; the yaws have converged by then."""


@dataclass(frozen=True)
class Fit:
    """The solution and its quality."""

    state: FitState
    residuals: Tensor
    """[V, L, 2] pixels, predicted minus observed; also for hidden points."""
    inliers: Tensor
    """[V, L] bool: visible points within the outlier threshold."""
    cost: float
    n_iterations: int


Advance = Callable[[NormalSystem, FitState, float], FitState | None]
"""The state after one step of the normal equations with a damping; None if the system isn't positive definite."""


def advance_freely(system: NormalSystem, state: FitState, damping: float) -> FitState | None:
    """Return the state after one step in which every view's camera moves independently."""
    step = solve_step(system, damping)
    return None if step is None else apply_step(state, *step)


def fit_subject(problem: Problem, initial: FitState | None = None, advance: Advance = advance_freely) -> Fit:
    """Compute the maximum a posteriori fit of one subject's views.

    `advance` defines the reachable states: all by default, or those of cameras that are tied together. Every view must
    have enough visible points for a pose (about 6); the caller drops the others.
    """
    settings = problem.settings
    state = initial_state(problem) if initial is None else initial
    seen = Projected(state, *project_state(problem := problem.following(state), state))
    damping, previous, n_done = 1e-3, math.inf, 0
    for iteration in range(settings.n_iterations):
        truncated = iteration >= settings.n_annealing
        if problem.outline is not None and iteration == SETTLING_ITERATION:
            problem = problem.settled(seen.state)
            seen = Projected(seen.state, *project_state(problem, seen.state))
        kernel = choose_kernel(problem, seen.residuals, truncated)
        cost = total_cost(problem, seen.state, seen.residuals, kernel)
        system = normal_equations(problem, seen.state, seen.residuals, seen.geometry, kernel)
        seen, damping, new_cost = _damped_step(problem, seen, partial(advance, system), kernel, float(cost), damping)
        n_done = iteration + 1
        if truncated and previous - new_cost < settings.tolerance * new_cost + 1e-9:
            break
        previous = new_cost if truncated else math.inf
    state = clipped(problem, seen.state)
    residuals, _ = project_state(problem, state)
    kernel = choose_kernel(problem, residuals, truncated=True)
    squares = residuals.square().sum(-1) / settings.sigma_px**2
    inliers = (problem.weights > 0) & (squares <= kernel.scale_sq)
    return Fit(state, residuals, inliers, float(total_cost(problem, state, residuals, kernel)), n_done)


def initial_state(problem: Problem) -> FitState:
    """Return the initial state: mean shape, no expression, cameras by weak perspective."""
    basis, settings = problem.basis, problem.settings
    still = basis.plain[..., 0] if problem.outline is None else problem.outline.front()
    rotation, translation = weak_perspective(still, problem.weights, problem.points, settings.focal_px)
    n_moments = 1 if settings.one_moment else len(problem.points)
    place = {"dtype": torch.float64, "device": problem.points.device}
    return FitState(
        log_focal=torch.tensor(math.log(settings.focal_px), **place),
        shape=torch.zeros(basis.n_shape, **place),
        expr=torch.zeros(n_moments, basis.n_expr, **place),
        jaw=torch.tensor(settings.jaw_mean_rad, **place).repeat(n_moments, 1),
        rotation=rotation,
        translation=translation,
    )


@dataclass(frozen=True)
class Projected:
    """A state and its predictions."""

    state: FitState
    residuals: Tensor
    geometry: Geometry


def _damped_step(
    problem: Problem,
    seen: Projected,
    advance: Callable[[FitState, float], FitState | None],
    kernel: Kernel,
    cost: float,
    damping: float,
) -> tuple[Projected, float, float]:
    """Return the first of up to 6 increasingly damped steps that lowers the cost, the next damping and the cost."""
    for _ in range(6):
        candidate = advance(seen.state, damping)
        if candidate is not None:
            residuals, geometry = project_state(problem, candidate)
            if float(geometry.local[..., 2].amin()) > MIN_DEPTH_M:
                new_cost = float(total_cost(problem, candidate, residuals, kernel))
                if new_cost <= cost:
                    return Projected(candidate, residuals, geometry), max(damping / 10, 1e-9), new_cost
        damping = damping * 10
    return seen, damping, cost


def apply_step(state: FitState, local: Tensor, shared: Tensor) -> FitState:
    """Return the state moved by a step of the normal equations' unknowns."""
    row = len(shared) - 1 - len(state.shape)
    inner = shared[None, :row] if row else local[:, N_POSE:]
    return FitState(
        log_focal=state.log_focal + shared[row],
        shape=state.shape + shared[row + 1 :],
        expr=state.expr + inner[:, N_JAW:],
        jaw=state.jaw + inner[:, :N_JAW],
        rotation=axis_angle_to_matrix(local[:, :3]) @ state.rotation,
        translation=state.translation + local[:, 3:6],
    )


def clipped(problem: Problem, state: FitState) -> FitState:
    """Clip coefficients to their limit, which the prior's springs let them exceed slightly."""
    limit, basis = problem.settings.coefficient_limit, problem.basis
    if not math.isfinite(limit):
        return state
    shape = (basis.shape_map @ state.shape).clamp(-limit, limit) @ basis.shape_map
    expr = (state.expr @ basis.expr_map.T).clamp(-limit, limit) @ basis.expr_map
    return replace(state, shape=shape, expr=expr)
