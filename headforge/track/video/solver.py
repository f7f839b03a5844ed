"""Levenberg-Marquardt over all frames of a film at once.

Unknowns: every frame's pose, jaw and expression (n numbers), and the shape and the focal length that all frames share.
Temporal smoothness (`video.chain`) couples each frame to the next two, so the frames' part of the normal equations is a
band matrix. It is factored by LAPACK's banded Cholesky, the shared unknowns by the Schur complement, as in
`equations.solve_step`; the cost of a step is linear in the number of frames.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.linalg import LinAlgError, cho_solve_banded, cholesky_banded
from torch import Tensor

from headforge.track.solver.equations import NormalSystem, normal_equations
from headforge.track.solver.problem import (
    MIN_DEPTH_M,
    FitState,
    Kernel,
    Problem,
    choose_kernel,
    project_state,
    total_cost,
)
from headforge.track.solver.solver import Fit, Projected, apply_step, clipped, initial_state
from headforge.track.video.chain import N_TURN, Chain, ChainTerm, chain_term

MAX_RETRIES = 6
OUTLINE_ITERATIONS = (1, 2, 4)
"""Iterations before which jaw lines are selected again; after the last the yaws have converged."""


def fit_film(problem: Problem, chain: Chain, initial: FitState | None = None) -> Fit:
    """Compute the maximum a posteriori fit of all frames [V] of one person, in temporal order.

    As `solver.fit_subject`, with the chain's smoothness in the cost.
    """
    settings = problem.settings
    state = initial_state(problem) if initial is None else initial
    seen = Projected(state, *project_state(problem := problem.following(state), state))
    damping, previous, n_done = 1e-3, math.inf, 0
    for iteration in range(settings.n_iterations):
        truncated = iteration >= settings.n_annealing
        if iteration in OUTLINE_ITERATIONS:
            problem = problem.following(seen.state)
            seen, previous = Projected(seen.state, *project_state(problem, seen.state)), math.inf
        kernel = choose_kernel(problem, seen.residuals, truncated)
        term = chain_term(chain, seen.state)
        cost = float(total_cost(problem, seen.state, seen.residuals, kernel)) + term.value
        system = normal_equations(problem, seen.state, seen.residuals, seen.geometry, kernel)
        seen, damping, new_cost = _damped_step(problem, chain, seen, system, term, kernel, cost, damping)
        n_done = iteration + 1
        if abs(previous - new_cost) < 1e-6 * new_cost:
            break
        previous = new_cost
    state = clipped(problem, seen.state)
    residuals, _ = project_state(problem, state)
    kernel = choose_kernel(problem, residuals, truncated=True)
    squares = residuals.square().sum(-1) / settings.sigma_px**2
    inliers = (problem.weights > 0) & (squares <= kernel.scale_sq)
    cost = film_cost(problem, chain, state, residuals, kernel)
    return Fit(state, residuals, inliers, cost, n_done)


def film_cost(problem: Problem, chain: Chain, state: FitState, residuals: Tensor, kernel: Kernel) -> float:
    """Return the sum of robust data term, priors and smoothness, dimensionless."""
    return float(total_cost(problem, state, residuals, kernel)) + chain_term(chain, state).value


def _damped_step(
    problem: Problem, chain: Chain, seen: Projected, system: NormalSystem, term: ChainTerm, kernel: Kernel, cost: float,
    damping: float,
) -> tuple[Projected, float, float]:  # fmt: skip
    """Return the first of up to 6 increasingly damped steps that lowers the cost, the next damping and the cost."""
    for _ in range(MAX_RETRIES):
        step = banded_step(system, chain, term, damping)
        if step is not None:
            candidate = apply_step(seen.state, *step)
            residuals, geometry = project_state(problem, candidate)
            if float(geometry.local[..., 2].amin()) > MIN_DEPTH_M:
                new_cost = film_cost(problem, chain, candidate, residuals, kernel)
                if new_cost <= cost:
                    return Projected(candidate, residuals, geometry), max(damping / 10, 1e-9), new_cost
        damping = damping * 10
    return seen, damping, cost


def banded_step(system: NormalSystem, chain: Chain, term: ChainTerm, damping: float) -> tuple[Tensor, Tensor] | None:
    """Return the damped step (local [V, n], shared [m]); None if the equations are not positive definite."""
    n_frames, n = system.local_gradient.shape
    bands = _bands(system, chain, term)
    bands[0] *= 1 + damping
    gradient = system.local_gradient + term.gradient
    right = torch.cat([system.cross, gradient[..., None]], dim=-1).flatten(0, 1).numpy()
    try:
        factor = cholesky_banded(bands, overwrite_ab=True, lower=True, check_finite=False)
    except LinAlgError:
        return None
    solved = torch.from_numpy(cho_solve_banded((factor, True), right, check_finite=False))
    reduction = system.cross.flatten(0, 1).T @ solved
    schur = system.shared + damping * torch.diag(system.shared.diagonal()) - reduction[:, :-1]
    lower, info = torch.linalg.cholesky_ex((schur + schur.T) / 2)
    if int(info) != 0:
        return None
    shared = -torch.cholesky_solve((system.shared_gradient - reduction[:, -1])[:, None], lower)[:, 0]
    local = -solved[:, -1] - solved[:, :-1] @ shared
    return local.reshape(n_frames, n), shared


def _bands(system: NormalSystem, chain: Chain, term: ChainTerm) -> np.ndarray:
    """Return the frames' part of the normal equations in LAPACK's lower band storage: bands[i - j, j] = A[i, j]."""
    n_frames, n = system.local_gradient.shape
    size = n_frames * n
    bands = np.zeros((min(2 * n + N_TURN, size), size))
    row, column = np.tril_indices(n)
    start = n * np.arange(n_frames)
    bands[(row - column)[None], start[:, None] + column] = system.local.numpy()[:, row, column]
    first = chain.triples.first.numpy()
    if not len(first):
        return bands
    factors, weights, stiffness = term.factors.numpy(), term.weights.numpy(), chain.stiffness.numpy()
    plain = np.arange(N_TURN, n)
    turn = np.indices((N_TURN, N_TURN)).reshape(2, -1)
    for r in range(3):
        for s in range(r + 1):
            begin = n * (first + s)[:, None]
            strength = (weights * factors[:, r] * factors[:, s])[:, None] * stiffness[N_TURN:]
            # No two triples share a first frame, so no index occurs twice.
            bands[(r - s) * n, begin + plain] += strength
            kept = turn[:, turn[0] >= turn[1]] if r == s else turn
            block = term.turn_blocks[:, r, s].numpy()[:, kept[0], kept[1]]
            bands[(r - s) * n + kept[0] - kept[1], begin + kept[1]] += block
    return bands
