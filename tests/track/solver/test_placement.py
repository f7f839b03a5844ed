"""Known cameras: the tied equations against automatic differentiation, and recovery of placements."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from headforge.flame.model import HeadModel
from headforge.geometry.rotations import axis_angle_to_matrix
from headforge.track.solver.basis import landmark_basis
from headforge.track.solver.equations import normal_equations
from headforge.track.solver.placement import (
    AdvanceTied,
    Placement,
    Rig,
    initial_placement,
    move_placement,
    placement_of,
    pose_ties,
    tie_views,
)
from headforge.track.solver.prior import prior_value
from headforge.track.solver.problem import Kernel, Problem, project_state
from headforge.track.solver.state import FitSettings, FitState
from headforge.track.solver.twin import dense_system
from tests.heads import tiny_head
from tests.track.scenes import make_scene

N_VIEWS = 5


@dataclass(frozen=True)
class Case:
    problem: Problem
    state: FitState
    rig: Rig
    placement: Placement


def placed_case(head: HeadModel, *, one_moment: bool) -> Case:
    """A state away from the optimum, with a scene's cameras in their own world."""
    scene = make_scene(head, n_views=N_VIEWS, noise_px=2.0, seed=3)
    basis = landmark_basis(head)
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    placement = Placement(axis_angle_to_matrix(0.2 * normal(3)), 0.02 * normal(3), torch.tensor(0.4).double())
    rig = Rig.of(scene.camera)
    rig = Rig(rig.rotation, rig.translation / placement.unit_m)
    n_moments = 1 if one_moment else N_VIEWS
    rotation, translation = placement.poses(rig)
    state = FitState(
        torch.tensor(6.4, dtype=torch.float64), normal(head.n_shape), 0.5 * normal(n_moments, head.n_expr),
        0.1 * normal(n_moments, 3), rotation, translation,
    )  # fmt: skip
    settings = FitSettings(
        sigma_px=1.0, focal_px=float(state.log_focal.exp()), focal_known=True, one_moment=one_moment,
        jacobian_dtype=torch.float64,
    )  # fmt: skip
    return Case(Problem(basis, scene.points - 128, scene.weights, settings), state, rig, placement)


def stepped(case: Case, step: Tensor) -> FitState:
    """The state after a step of the tied system written out: each view's face, placement, shared face, focal, shape."""
    state, n_shape = case.state, len(case.state.shape)
    n_face = 3 + state.expr.shape[1]
    one_moment = len(state.expr) == 1
    inner = step[: 0 if one_moment else N_VIEWS * n_face]
    shared = step[len(inner) :]
    rotation, translation = move_placement(case.placement, shared[:7]).poses(case.rig)
    face = shared[7 : 7 + n_face][None] if one_moment else inner.reshape(N_VIEWS, n_face)
    return FitState(
        state.log_focal + shared[-1 - n_shape], state.shape + shared[-n_shape:], state.expr + face[:, 3:],
        state.jaw + face[:, :3], rotation, translation,
    )  # fmt: skip


@pytest.mark.parametrize("one_moment", [True, False])
def test_the_tied_system_is_the_derivative_of_the_cost(one_moment: bool) -> None:
    case = placed_case(tiny_head(), one_moment=one_moment)
    problem, kernel = case.problem, Kernel(torch.tensor(1e9, dtype=torch.float64), truncated=True)
    residuals, geometry = project_state(problem, case.state)
    system = normal_equations(problem, case.state, residuals, geometry, kernel)
    matrix, gradient = dense_system(tie_views(system, pose_ties(case.rig, case.placement)))
    zero = torch.zeros(len(gradient), dtype=torch.float64)
    root = problem.weights.sqrt()[..., None]
    scaled = torch.autograd.functional.jacobian(lambda s: root * project_state(problem, stepped(case, s))[0], zero)
    columns = scaled.flatten(0, 2)
    expected = columns.T @ (root * residuals).flatten()
    prior = torch.autograd.functional.jacobian(
        lambda s: prior_value(problem.basis, problem.settings, stepped(case, s)), zero
    )
    focal = len(gradient) - 1 - problem.basis.n_shape
    kept = torch.tensor([i for i in range(len(gradient)) if i != focal])
    torch.testing.assert_close(gradient[kept], (expected + prior / 2)[kept], atol=1e-6, rtol=1e-8)
    normal = columns.T @ columns
    n_pose = 7
    start = len(gradient) - len(case.problem.basis.shape_map) - 1 - n_pose - (3 + problem.basis.n_expr) * one_moment
    rows = slice(start, start + n_pose)
    torch.testing.assert_close(matrix[rows, kept], normal[rows, kept], atol=1e-5, rtol=1e-8)
    assert float(gradient[focal]) == 0


@pytest.mark.parametrize("one_moment", [True, False])
def test_a_tied_step_keeps_the_cameras_and_lowers_the_cost(one_moment: bool) -> None:
    case = placed_case(tiny_head(), one_moment=one_moment)
    residuals, geometry = project_state(case.problem, case.state)
    kernel = Kernel(torch.tensor(1e9, dtype=torch.float64), truncated=True)
    system = normal_equations(case.problem, case.state, residuals, geometry, kernel)
    state = AdvanceTied(case.rig)(system, case.state, 1e-3)
    assert state is not None
    rotation, translation = placement_of(case.rig, state).poses(case.rig)
    torch.testing.assert_close(state.rotation, rotation, atol=1e-10, rtol=0)
    torch.testing.assert_close(state.translation, translation, atol=1e-10, rtol=0)
    after = project_state(case.problem, state)[0]
    assert float(after.square().sum()) < float(residuals.square().sum())


def test_a_placement_comes_back_from_its_own_poses() -> None:
    case = placed_case(tiny_head(), one_moment=True)
    found = placement_of(case.rig, case.state)
    torch.testing.assert_close(found.rotation, case.placement.rotation, atol=1e-10, rtol=0)
    torch.testing.assert_close(found.place, case.placement.place, atol=1e-10, rtol=0)
    torch.testing.assert_close(found.unit_m, case.placement.unit_m, atol=1e-10, rtol=0)


def test_the_first_placement_leaves_out_a_view_that_contradicts_the_others() -> None:
    case = placed_case(tiny_head(), one_moment=True)
    rotation, translation = case.state.rotation.clone(), case.state.translation.clone()
    turned = axis_angle_to_matrix(torch.tensor([0.0, 3.1, 0.0], dtype=torch.float64))
    rotation[2] = rotation[2] @ turned
    translation[2, 0] += 0.2
    found, trusted = initial_placement(case.rig, rotation, translation)
    assert trusted.tolist() == [True, True, False, True, True]
    torch.testing.assert_close(found.rotation, case.placement.rotation, atol=1e-8, rtol=0)
    torch.testing.assert_close(found.unit_m, case.placement.unit_m, atol=1e-8, rtol=0)


def test_cameras_with_flipped_axes_contradict_the_faces() -> None:
    case = placed_case(tiny_head(), one_moment=True)
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    # Camera-to-world taken for world-to-camera.
    inverse = case.rig.rotation.transpose(1, 2)
    inverted = Rig(inverse, -(inverse @ case.rig.translation[..., None])[..., 0])
    _, trusted = initial_placement(inverted, case.state.rotation, case.state.translation)
    assert int(trusted.sum()) < N_VIEWS
    flipped = dataclasses.replace(case.rig, rotation=flip @ case.rig.rotation, translation=case.rig.translation @ flip)
    found, trusted = initial_placement(flipped, case.state.rotation, case.state.translation)
    assert int(trusted.sum()) < N_VIEWS or float(found.unit_m) < 0
