"""The Levenberg-Marquardt solver against its reference, ground truth, noise, outliers and other subjects."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from headforge.geometry.rotations import axis_angle_to_matrix
from headforge.track.solver.basis import LandmarkBasis, landmark_basis
from headforge.track.solver.equations import (
    NormalSystem,
    column_blocks,
    jacobian,
    moment_blocks,
    normal_equations,
    right_jacobian,
    solve_step,
)
from headforge.track.solver.initialise import weak_perspective
from headforge.track.solver.problem import Kernel, Problem, choose_kernel, project_state, total_cost
from headforge.track.solver.solver import Fit, fit_subject
from headforge.track.solver.state import FitSettings, FitState
from headforge.track.solver.twin import dense_step, dense_system, moved, project_with_head
from tests.heads import tiny_head
from tests.track.scenes import Scene, make_scene
from tests.track.solver.test_basis import head_with_pose_correctives, random_state

SIZE = 256


def problem_of(scene: Scene, basis: LandmarkBasis, **changes: object) -> Problem:
    settings = FitSettings(sigma_px=1.0, focal_px=2.0 * SIZE)
    settings = dataclasses.replace(settings, **changes)  # type: ignore[arg-type]
    return Problem(basis, scene.points - SIZE / 2, scene.weights, settings)


def clean_rms(fit: Fit, scene: Scene) -> float:
    clean = (scene.weights > 0) & ~scene.outliers
    return float(fit.residuals[clean].square().mean().sqrt())


def shifted_state(n_shape: int, n_expr: int) -> FitState:
    state = random_state(n_shape, n_expr)
    turn = torch.tensor([[3.0, 0.1, 0.2], [3.1, 0.3, -0.2], [2.8, 0.0, 0.4]], dtype=torch.float64)
    shift = torch.tensor([[0.02, 0.01, 1.0], [0.0, 0.05, 1.2], [-0.03, 0.0, 0.9]], dtype=torch.float64)
    return dataclasses.replace(state, rotation=axis_angle_to_matrix(turn), translation=shift)


def test_jacobian_equals_automatic_differentiation() -> None:
    basis = landmark_basis(head_with_pose_correctives())
    state = shifted_state(basis.n_shape, basis.n_expr)
    points = torch.zeros(3, 68, 2, dtype=torch.float64)
    settings = FitSettings(sigma_px=1.0, focal_px=400.0, jacobian_dtype=torch.float64)
    problem = Problem(basis, points, torch.ones(3, 68, dtype=torch.float64), settings)
    n_local = 9 + basis.n_expr
    size = 3 * n_local + 1 + basis.n_shape
    automatic = torch.autograd.functional.jacobian(
        lambda step: project_state(problem, moved(state, step))[0], torch.zeros(size, dtype=torch.float64)
    )
    ours = jacobian(problem, state, project_state(problem, state)[1]).permute(0, 2, 1, 3)
    for view in range(3):
        own = automatic[view, ..., view * n_local : (view + 1) * n_local]
        torch.testing.assert_close(ours[view, ..., :n_local], own, atol=1e-6, rtol=1e-8)
        torch.testing.assert_close(ours[view, ..., n_local:], automatic[view, ..., 3 * n_local :], atol=1e-6, rtol=1e-8)


def test_projection_equals_the_whole_heads() -> None:
    head = head_with_pose_correctives()
    basis = landmark_basis(head)
    state = shifted_state(basis.n_shape, basis.n_expr)
    points = torch.zeros(3, 68, 2, dtype=torch.float64)
    problem = Problem(basis, points, points[..., 0], FitSettings(sigma_px=1.0, focal_px=400.0))
    torch.testing.assert_close(project_state(problem, state)[0], project_with_head(head, state), atol=1e-3, rtol=0)


def test_right_jacobian_at_and_away_from_zero() -> None:
    for vector in (torch.zeros(3), torch.tensor([1e-4, 2e-4, 0.0]), torch.tensor([0.4, -0.3, 0.2])):
        vector = vector.double()
        automatic = torch.autograd.functional.jacobian(axis_angle_to_matrix, vector)
        change = axis_angle_to_matrix(vector).T @ automatic.permute(2, 0, 1)
        ours = torch.stack([change[:, 2, 1], change[:, 0, 2], change[:, 1, 0]])
        torch.testing.assert_close(right_jacobian(vector), ours, atol=1e-8, rtol=0)


def system_of(problem: Problem, state: FitState) -> tuple[NormalSystem, Kernel]:
    residuals, geometry = project_state(problem, state)
    kernel = choose_kernel(problem, residuals, truncated=False)
    return normal_equations(problem, state, residuals, geometry, kernel), kernel


@pytest.mark.parametrize("changes", [{}, {"coefficient_limit": 0.5}, {"focal_known": True}, {"one_moment": True}])
def test_normal_equations_hold_the_costs_gradient(changes: dict[str, object]) -> None:
    scene = make_scene(tiny_head(), n_views=3, noise_px=1.0, hidden=0.2)
    basis = landmark_basis(tiny_head())
    problem = problem_of(scene, basis, jacobian_dtype=torch.float64, **changes)
    state = shifted_state(basis.n_shape, basis.n_expr)
    if problem.settings.one_moment:
        state = dataclasses.replace(state, expr=state.expr[:1], jaw=state.jaw[:1])
    system, kernel = system_of(problem, state)
    _, gradient = dense_system(system)

    def cost(step: torch.Tensor) -> torch.Tensor:
        candidate = moved(state, step)
        return total_cost(problem, candidate, project_state(problem, candidate)[0], kernel)

    automatic = torch.autograd.functional.jacobian(cost, torch.zeros_like(gradient)) / 2
    if problem.settings.focal_known:
        automatic[3 * (9 + basis.n_expr)] = 0
    torch.testing.assert_close(gradient, automatic, rtol=1e-7, atol=1e-6)


def test_blocks_of_one_moment_equal_those_of_the_whole_jacobian() -> None:
    basis = landmark_basis(head_with_pose_correctives())
    scene = make_scene(head_with_pose_correctives(), n_views=3, noise_px=1.0, hidden=0.2)
    problem = problem_of(scene, basis, one_moment=True, jacobian_dtype=torch.float64)
    state = shifted_state(basis.n_shape, basis.n_expr)
    state = dataclasses.replace(state, expr=state.expr[:1], jaw=state.jaw[:1])
    residuals, geometry = project_state(problem, state)
    fast = moment_blocks(problem, state, residuals, geometry, problem.weights)
    plain = column_blocks(problem, state, residuals, geometry, problem.weights)
    for mine, theirs in zip(dataclasses.astuple(fast), dataclasses.astuple(plain), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-6)


def test_schur_step_equals_the_dense_step() -> None:
    scene = make_scene(tiny_head(), n_views=3, noise_px=1.0, hidden=0.2)
    basis = landmark_basis(tiny_head())
    system, _ = system_of(problem_of(scene, basis), shifted_state(basis.n_shape, basis.n_expr))
    ours = solve_step(system, 1e-3)
    assert ours is not None
    for mine, dense in zip(ours, dense_step(system, 1e-3), strict=True):
        torch.testing.assert_close(mine, dense, rtol=1e-4, atol=1e-5)


def test_weak_perspective_finds_a_distant_camera() -> None:
    head = tiny_head()
    basis = landmark_basis(head)
    points = basis.plain[..., 0]
    turn = axis_angle_to_matrix(torch.tensor([[3.0, 0.3, 0.2], [2.9, -0.7, 0.4]], dtype=torch.float64))
    shift = torch.tensor([[0.3, 0.1, 60.0], [-0.2, 0.4, 50.0]], dtype=torch.float64)
    local = points @ turn.transpose(1, 2) + shift[:, None]
    target = 3e4 * local[..., :2] / local[..., 2:]
    target[0, :6] += 300
    weights = torch.ones(2, 68, dtype=torch.float64)
    weights[1, :30] = 0
    rotation, translation = weak_perspective(points, weights, target, 3e4)
    torch.testing.assert_close(rotation, turn, atol=0.015, rtol=0)
    torch.testing.assert_close(translation, shift, atol=0.2, rtol=5e-3)


def test_exact_landmarks_give_exact_parameters() -> None:
    head = tiny_head()
    scene = make_scene(head, n_views=20)
    problem = problem_of(scene, landmark_basis(head), sigma_px=0.01, n_iterations=30)
    fit = fit_subject(problem)
    assert clean_rms(fit, scene) < 0.01
    focal = float(fit.state.log_focal.exp())
    assert abs(focal / float(scene.camera.K[0, 0, 0]) - 1) < 2e-3
    torch.testing.assert_close(fit.state.shape.float(), scene.params.shape[0], atol=0.02, rtol=0)
    turn = fit.state.rotation.float() @ scene.camera.viewmat[:, :3, :3].transpose(1, 2)
    angle_deg = torch.rad2deg(torch.acos(((turn.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2).clamp(-1, 1)))
    assert float(angle_deg.max()) < 0.3
    assert bool((torch.linalg.det(fit.state.rotation) > 0).all())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_floor_is_reached_with_hidden_points_and_outliers(seed: int) -> None:
    head = tiny_head()
    scene = make_scene(head, n_views=20, noise_px=1.0, hidden=0.3, outliers=0.05, seed=seed)
    fit = fit_subject(problem_of(scene, landmark_basis(head)))
    clean = (scene.weights > 0) & ~scene.outliers
    n_unknowns = 20 * (9 + head.n_expr) + 1 + head.n_shape
    floor = math.sqrt(1 - n_unknowns / (2 * int(clean.sum())))
    assert 0.97 * floor < clean_rms(fit, scene) < 1.06 * floor
    gross = (scene.weights > 0) & scene.outliers & (fit.residuals.norm(dim=-1) > 8)
    assert not bool(fit.inliers[gross].any())
    assert float(fit.inliers[clean].double().mean()) > 0.995


def test_hidden_points_have_no_influence() -> None:
    head = tiny_head()
    scene = make_scene(head, n_views=6, noise_px=1.0, hidden=0.3)
    basis = landmark_basis(head)
    spoilt = dataclasses.replace(scene, points=torch.where(scene.weights[..., None] > 0, scene.points, 1e4))
    one, two = fit_subject(problem_of(scene, basis)), fit_subject(problem_of(spoilt, basis))
    assert torch.equal(one.state.shape, two.state.shape)
    assert torch.equal(one.state.translation, two.state.translation)


def test_known_focal_length_stays() -> None:
    head = tiny_head()
    scene = make_scene(head, n_views=6, noise_px=1.0)
    fit = fit_subject(problem_of(scene, landmark_basis(head), focal_known=True, focal_px=600.0))
    assert float(fit.state.log_focal.exp()) == pytest.approx(600.0)


def test_coefficients_stay_within_the_limit() -> None:
    head = tiny_head()
    scene = make_scene(head, n_views=6, noise_px=1.0)
    fit = fit_subject(problem_of(scene, landmark_basis(head), coefficient_limit=0.8, sigma_px=0.1))
    assert float(fit.state.shape.abs().max()) <= 0.8
    assert float(fit.state.expr.abs().max()) <= 0.8
    free = fit_subject(problem_of(scene, landmark_basis(head), sigma_px=0.1))
    assert float(free.state.shape.abs().max()) > 0.9


@pytest.mark.parametrize("yaw_max_deg", [20.0, 75.0])
def test_single_views_are_never_mirrored_or_inverted(yaw_max_deg: float) -> None:
    head = tiny_head()
    basis = landmark_basis(head)
    scene = make_scene(head, n_views=24, noise_px=1.5, outliers=0.03, yaw_max_deg=yaw_max_deg, seed=4)
    for view in range(24):
        settings = FitSettings(sigma_px=1.5, focal_px=2.4 * SIZE, focal_known=True)
        row = slice(view, view + 1)
        fit = fit_subject(Problem(basis, scene.points[row] - SIZE / 2, scene.weights[row], settings))
        turn = fit.state.rotation[0].float() @ scene.camera.viewmat[view, :3, :3].T
        angle = math.degrees(math.acos(max(-1.0, min(1.0, (float(turn.trace()) - 1) / 2))))
        assert angle < 15
        assert float(torch.linalg.det(fit.state.rotation[0])) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("truncated", [False, True])
def test_the_kernels_weight_is_its_derivative(truncated: bool) -> None:
    kernel = Kernel(torch.tensor(4.0, dtype=torch.float64), truncated)
    squares = torch.tensor([0.0, 1.0, 3.0, 5.0, 400.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(kernel.rho(squares).sum(), squares)
    torch.testing.assert_close(kernel.weight(squares.detach()), slope)
    assert float(kernel.rho(squares.detach())[-1]) <= 4
