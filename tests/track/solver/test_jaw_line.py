"""Jaw lines that follow the outline: their layout over views, and fits to landmarks as a detector marks them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from headforge.flame.builtin.head import builtin_head
from headforge.flame.model import pose_head
from headforge.geometry.cameras import orbit_camera, project
from headforge.geometry.meshes import interpolate_on_faces
from headforge.track.detected_fit import detected_problem, fit_detected
from headforge.track.solver.basis import landmark_basis
from headforge.track.solver.equations import fused_moment_blocks, moment_blocks, normal_equations
from headforge.track.solver.jaw_line import contour_embedding, landmark_weights, outline_of
from headforge.track.solver.problem import Kernel, Problem, project_state, view_yaws_deg
from headforge.track.solver.solver import initial_state
from headforge.track.solver.state import FitSettings
from headforge.types import Camera, HeadParams

SIZE = 256
YAWS = (-38.0, -20.0, 0.0, 19.0, 38.0)


def marked(params: HeadParams, camera: Camera, yaws: tuple[float, ...]) -> Tensor:
    """[V, 68, 2] where a detector marks the landmarks."""
    head = builtin_head()
    vertices = pose_head(head, params)
    return torch.stack(
        [
            project(camera[view], interpolate_on_faces(vertices, head.faces, *contour_embedding(head, yaw))[0])[0]
            for view, yaw in enumerate(yaws)
        ]
    ).double()


def test_every_yaw_has_its_own_jaw_line_and_the_same_features() -> None:
    head = builtin_head()
    _, outline = outline_of(head)
    assert outline is not None
    basis, rows = outline.layout(torch.tensor([-80.0, -21.2, -0.4, 0.4, 21.2, 80.0]))
    assert len(basis.plain) == 51 + 5 * 17
    for found, yaw in zip(rows, (-39, -21, 0, 0, 21, 39), strict=True):
        expected = landmark_basis(head, *contour_embedding(head, yaw))
        for name in ("plain", "carried", "plain_pose", "carried_pose"):
            assert torch.equal(getattr(basis, name)[found], getattr(expected, name))
    torch.testing.assert_close(outline.front(), landmark_basis(head).plain[..., 0])


def test_a_head_without_a_contour_keeps_its_landmarks_and_distrusts_the_far_side() -> None:
    plain = dataclasses.replace(builtin_head(), contour_faces=builtin_head().contour_faces[:0])
    basis, outline = outline_of(plain)
    assert outline is None
    assert torch.equal(basis.plain, landmark_basis(plain).plain)
    far = landmark_weights(plain, 30.0)
    assert float(far[:8].max()) < 0.1 < float(far[9:17].min())


@pytest.mark.parametrize("one_moment", [True, False])
def test_equations_of_own_points_equal_those_of_points_side_by_side(one_moment: bool) -> None:
    head = builtin_head()
    basis, outline = outline_of(head)
    assert outline is not None
    settings = FitSettings(sigma_px=1.0, focal_px=600, one_moment=one_moment, jacobian_dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    points = 40 * torch.randn(5, 68, 2, generator=generator, dtype=torch.float64)
    weights = torch.rand(5, 68, generator=generator, dtype=torch.float64)
    problem = Problem(basis, points, weights, settings, outline)
    state = initial_state(problem)
    state = dataclasses.replace(state, jaw=state.jaw + 0.1, expr=state.expr + 0.2, shape=state.shape + 0.3)
    layout, rows = outline.layout(torch.tensor(YAWS))
    own = dataclasses.replace(problem, basis=layout, rows=rows)
    wide_points = torch.zeros(5, len(layout.plain), 2, dtype=torch.float64)
    wide_points.scatter_(1, rows[..., None].expand(-1, -1, 2), points)
    wide_weights = torch.zeros(5, len(layout.plain), dtype=torch.float64).scatter(1, rows, weights)
    wide = Problem(layout, wide_points, wide_weights, settings)
    kernel = Kernel(torch.tensor(9.0, dtype=torch.float64), truncated=False)
    ours, twin = (normal_equations(p, state, *project_state(p, state), kernel) for p in (own, wide))
    for name in ("local", "cross", "shared", "local_gradient", "shared_gradient"):
        torch.testing.assert_close(getattr(ours, name), getattr(twin, name), rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("noise_px", [0.0, 0.7])
def test_marked_landmarks_give_the_cameras_back(noise_px: float) -> None:
    head = builtin_head()
    generator = torch.Generator().manual_seed(3)
    params = head.neutral((1,)).replace(shape=0.8 * torch.randn(1, head.n_shape, generator=generator))
    camera = orbit_camera(torch.tensor(YAWS), torch.zeros(5), distance_m=0.9, focal_px=600, width=SIZE, height=SIZE)
    points = marked(params, camera, YAWS)
    points = points + noise_px * torch.randn(points.shape, generator=generator, dtype=torch.float64) - SIZE / 2
    settings = FitSettings(sigma_px=0.7, focal_px=600, focal_known=True, expr_sigma=0.3, n_annealing=14)
    found = fit_detected(head, detected_problem(head, points, torch.ones(5, 68, dtype=torch.float64), settings))
    yaws = view_yaws_deg(found.fit.state)
    assert float((yaws - torch.tensor(YAWS)).abs().max()) < (0.4 if noise_px == 0 else 1.2)
    used = found.fit.inliers.sum(-1)
    # The far side's features are hidden at 38 degrees and are left out.
    assert int(used[2]) == 68 > int(used[0])


def test_a_yaw_that_is_a_degree_off_still_gets_the_jaw_line_that_fits() -> None:
    head = builtin_head()
    camera = orbit_camera(torch.tensor(YAWS), torch.zeros(5), distance_m=0.9, focal_px=600, width=SIZE, height=SIZE)
    beside = (-37.0, -21.0, 1.0, 20.0, 37.0)
    points = marked(head.neutral((1,)), camera, beside) - SIZE / 2
    basis, outline = outline_of(head)
    assert outline is not None
    settings = FitSettings(sigma_px=1.0, focal_px=600, one_moment=True)
    problem = Problem(basis, points, torch.ones(5, 68, dtype=torch.float64), settings, outline)
    state = dataclasses.replace(
        initial_state(problem),
        rotation=camera.viewmat[:, :3, :3].double(),
        translation=camera.viewmat[:, :3, 3].double(),
    )
    found = problem.settled(state)
    residuals, _ = project_state(found, state)
    assert float(residuals.abs().max()) < 1e-3
    assert float(project_state(problem.following(state), state)[0].abs().max()) > 0.05


@pytest.mark.parametrize("follows", [True, False])
def test_one_pass_over_the_points_equals_the_written_out_sums(follows: bool) -> None:
    head, generator = builtin_head(), torch.Generator().manual_seed(3)
    basis, outline = outline_of(head) if follows else (landmark_basis(head), None)
    cameras = [orbit_camera(y, 5.0, distance_m=0.6, focal_px=500.0, width=SIZE, height=SIZE) for y in YAWS]
    params = head.neutral((5,)).replace(
        shape=torch.randn(head.n_shape, generator=generator).expand(5, -1),
        jaw=torch.tensor([0.2, 0.01, -0.02]).expand(5, -1),
    )
    points = marked(params, Camera.stack(cameras), YAWS) - SIZE / 2
    weights = torch.rand(points.shape[:2], generator=generator).double() * (torch.arange(68) % 7 > 0)
    settings = FitSettings(sigma_px=0.7, focal_px=480.0, one_moment=True)
    problem = Problem(basis, points, weights, settings, outline)
    state = dataclasses.replace(initial_state(problem), jaw=torch.tensor([[0.1, 0.02, 0.01]]).double())
    problem = problem.following(state)
    residuals, geometry = project_state(problem, state)
    exact = dataclasses.replace(settings, jacobian_dtype=torch.float64)
    twin = moment_blocks(dataclasses.replace(problem, settings=exact), state, residuals, geometry, weights)
    fast = fused_moment_blocks(problem, state, residuals, geometry, weights)
    for field in dataclasses.fields(twin):
        wanted = getattr(twin, field.name)
        error = (getattr(fast, field.name) - wanted).abs().max() / wanted.abs().max()
        assert float(error) < 2e-6, field.name
