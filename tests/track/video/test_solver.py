"""Films: smoothness against its reference, the banded step against a dense one, fits with ground truth."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from headforge.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from headforge.track.solver.basis import landmark_basis
from headforge.track.solver.equations import normal_equations
from headforge.track.solver.problem import FitSettings, FitState, Kernel, Problem, project_state
from headforge.track.solver.solver import fit_subject
from headforge.track.solver.twin import dense_system, moved
from headforge.track.video.chain import Chain, SmoothSettings, chain_term, inverse_left_jacobian, make_chain
from headforge.track.video.solver import banded_step, film_cost, fit_film
from headforge.track.video.twin import chain_residuals
from tests.heads import N_EXPR, N_SHAPE, tiny_head
from tests.track.films import make_film
from tests.track.solver.test_basis import random_state

SMOOTH = SmoothSettings(turn_rad=0.01, move_m=0.002, jaw_rad=0.02, expr=0.3)


def wild_state(n_frames: int) -> FitState:
    generator = torch.Generator().manual_seed(5)
    turn = 0.5 * torch.randn(n_frames, 3, generator=generator, dtype=torch.float64)
    shift = 0.05 * torch.randn(n_frames, 3, generator=generator, dtype=torch.float64)
    state = random_state(N_SHAPE, N_EXPR, n_frames)
    facing = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    ahead = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    return dataclasses.replace(state, rotation=axis_angle_to_matrix(turn) @ facing, translation=shift + ahead)


def uneven_chain(n_expr: int = N_EXPR) -> Chain:
    """Seven frames with a gap of two and a cut before the last three."""
    times = torch.tensor([0, 1, 3, 4, 9, 10, 11])
    breaks = torch.tensor([False, False, False, True, False, False])
    return make_chain(times, breaks, SMOOTH, n_expr)


def test_a_cut_and_a_gap_are_where_they_are() -> None:
    chain = uneven_chain()
    assert chain.triples.first.tolist() == [0, 1, 4]
    assert chain.triples.before.tolist() == [1, 2, 1] and chain.triples.after.tolist() == [2, 1, 1]


def test_the_inverse_left_jacobian_is_the_derivative_of_the_logarithm() -> None:
    for angle in (1e-3, 0.02, 0.7, 2.5):
        vector = angle * torch.nn.functional.normalize(torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64), dim=0)
        step = 1e-6 * torch.eye(3, dtype=torch.float64)
        ahead = matrix_to_axis_angle(axis_angle_to_matrix(step) @ axis_angle_to_matrix(vector))
        behind = matrix_to_axis_angle(axis_angle_to_matrix(-step) @ axis_angle_to_matrix(vector))
        torch.testing.assert_close(((ahead - behind) / 2e-6).T, inverse_left_jacobian(vector), atol=1e-7, rtol=1e-6)


def test_value_and_gradient_equal_the_twins() -> None:
    state, chain = wild_state(7), uneven_chain()
    term = chain_term(chain, state)
    residuals, derivative = twin_derivative(chain, state)
    assert term.value == pytest.approx(float(residuals.square().sum()), rel=1e-12)
    torch.testing.assert_close(term.gradient.flatten(), derivative.T @ residuals, rtol=1e-9, atol=1e-6)


def twin_derivative(chain: Chain, state: FitState) -> tuple[Tensor, Tensor]:
    n = len(chain.stiffness)
    zero = torch.zeros(len(state.rotation) * n + 1 + N_SHAPE, dtype=torch.float64)

    def residuals(step: Tensor) -> Tensor:
        return chain_residuals(chain, moved(state, step))

    derivative = torch.autograd.functional.jacobian(residuals, zero)
    assert isinstance(derivative, Tensor)
    return residuals(zero), derivative[:, : len(state.rotation) * n]


@pytest.mark.parametrize("damping", [1e-3, 0.1])
def test_the_banded_step_equals_the_dense_one(damping: float) -> None:
    film = make_film(tiny_head(), n_frames=7, noise_px=1.0)
    basis = landmark_basis(tiny_head())
    settings = FitSettings(sigma_px=1.0, focal_px=600, jacobian_dtype=torch.float64)
    problem = Problem(basis, film.points, film.weights, settings)
    state, chain = film.exact_state(), uneven_chain()
    residuals, geometry = project_state(problem, state)
    kernel = Kernel(torch.tensor(20.0, dtype=torch.float64), truncated=False)
    system = normal_equations(problem, state, residuals, geometry, kernel)
    step = banded_step(system, chain, chain_term(chain, state), damping)
    assert step is not None
    twin_residuals, derivative = twin_derivative(chain, state)
    matrix, gradient = dense_system(system)
    n = derivative.shape[1]
    matrix[:n, :n] += derivative.T @ derivative
    gradient[:n] += derivative.T @ twin_residuals
    dense = -torch.linalg.solve(matrix + damping * torch.diag(matrix.diagonal()), gradient)
    torch.testing.assert_close(torch.cat([step[0].flatten(), step[1]]), dense, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("n_frames", [1, 2])
def test_films_too_short_for_second_differences_are_fitted_as_views(n_frames: int) -> None:
    film = make_film(tiny_head(), n_frames=n_frames, noise_px=0.5)
    settings = FitSettings(sigma_px=0.5, focal_px=film.focal_px, focal_known=True, n_iterations=30)
    problem = Problem(landmark_basis(tiny_head()), film.points, film.weights, settings)
    chain = make_chain(torch.arange(n_frames), torch.zeros(n_frames - 1, dtype=torch.bool), SMOOTH, N_EXPR)
    together, apart = fit_film(problem, chain), fit_subject(problem)
    torch.testing.assert_close(together.state.shape, apart.state.shape, atol=1e-3, rtol=0)
    torch.testing.assert_close(together.state.rotation, apart.state.rotation, atol=1e-4, rtol=0)


def rotation_error_deg(a: Tensor, b: Tensor) -> Tensor:
    cosine = ((a.transpose(1, 2) @ b).diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2
    return torch.rad2deg(cosine.clamp(-1, 1).acos())


def test_smoothness_brings_a_noisy_film_nearer_to_the_truth() -> None:
    film = make_film(tiny_head(), n_frames=40, noise_px=1.5, outliers=0.03)
    settings = FitSettings(sigma_px=1.5, focal_px=600, n_iterations=20)
    problem = Problem(landmark_basis(tiny_head()), film.points, film.weights, settings)
    times, whole = torch.arange(40), torch.zeros(39, dtype=torch.bool)
    smooth = SmoothSettings(turn_rad=math.radians(0.2), move_m=0.0005, jaw_rad=0.02, expr=0.1)
    chain = make_chain(times, whole, smooth, N_EXPR)
    loose = make_chain(times, whole, SmoothSettings(1e6, 1e6, 1e6, 1e6), N_EXPR)
    calm, free = fit_film(problem, chain), fit_film(problem, loose)
    errors = [rotation_error_deg(fit.state.rotation, film.rotation).mean() for fit in (calm, free)]
    assert errors[0] < 0.7 * errors[1] and errors[0] < 1.0
    assert float(calm.state.log_focal.exp()) == pytest.approx(film.focal_px, rel=0.2)
    clean = (film.weights > 0) & ~film.outliers
    rms = [float(fit.residuals[clean].square().mean().sqrt()) for fit in (calm, free)]
    assert rms[1] < rms[0] < 1.1 * 1.5
    jitter = [chain_term(chain, fit.state).value for fit in (calm, free)]
    assert jitter[0] < 0.2 * jitter[1]


def test_the_fit_is_a_minimum_of_the_cost_that_it_states() -> None:
    film = make_film(tiny_head(), n_frames=7, noise_px=1.0)
    settings = FitSettings(sigma_px=1.0, focal_px=600, n_iterations=40, n_annealing=0)
    problem = Problem(landmark_basis(tiny_head()), film.points, film.weights, settings)
    chain = uneven_chain()
    fit = fit_film(problem, chain)
    kernel = Kernel(torch.tensor(1e9, dtype=torch.float64), truncated=True)

    def cost(step: Tensor) -> float:
        state = moved(fit.state, step)
        return film_cost(problem, chain, state, project_state(problem, state)[0], kernel)

    size = 7 * problem.n_local + 1 + N_SHAPE
    generator = torch.Generator().manual_seed(0)
    best = cost(torch.zeros(size, dtype=torch.float64))
    for _ in range(20):
        step = 2e-3 * torch.randn(size, generator=generator, dtype=torch.float64)
        assert cost(step) > best
