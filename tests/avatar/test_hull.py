"""The visual hull: what a known ball leaves of the grid."""

from __future__ import annotations

import torch

from headforge.avatar.hull import carve, grid_around, hair_gaussians, head_space, outer_layers
from headforge.avatar.views import View
from headforge.geometry.cameras import orbit_camera, project
from tests.heads import tiny_head

HEAD = tiny_head()
RADIUS_M = 0.13
CENTRE = torch.tensor([0.0, 0.01, -0.02])


def ball_views(n: int = 24, size: int = 96) -> list[View]:
    """Masks of a ball around the head from all sides; a pixel is inside if its ray meets the ball."""
    views = []
    for i in range(n):
        camera = orbit_camera(i * 360.0 / n, 40.0 * (i % 3 - 1), distance_m=1.0, focal_px=size / 0.45, width=size,
                              height=size)  # fmt: skip
        y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
        rays = torch.stack(
            [(x - size / 2) / camera.K[0, 0], (y - size / 2) / camera.K[1, 1], torch.ones(size, size)], -1
        )
        rays = torch.nn.functional.normalize(rays @ camera.viewmat[:3, :3], dim=-1)
        offset = CENTRE - camera.centre
        along = (rays * offset).sum(-1)
        mask = (offset.square().sum() - along**2 < RADIUS_M**2).float()
        views.append(View(torch.ones(size, size, 3), mask, camera, HEAD.v_template))
    return views


def test_keeps_the_ball_and_little_more() -> None:
    views = ball_views()
    points = grid_around(HEAD.v_template, 0.1, 0.012).reshape(-1, 3)
    kept = carve(points, views, head_space(HEAD, HEAD.v_template), HEAD)
    distance = (points - CENTRE).norm(dim=-1)
    assert kept[distance < RADIUS_M - 0.006].all()
    assert not kept[distance > RADIUS_M * 1.25].any()


def test_points_that_no_view_sees_are_not_kept() -> None:
    camera = orbit_camera(0.0, 0.0, distance_m=1.0, focal_px=400.0, width=32, height=32)
    view = View(torch.ones(32, 32, 3), torch.ones(32, 32), camera, HEAD.v_template)
    points = torch.tensor([[0.0, 0, 0], [0.5, 0, 0]])
    assert project(camera, points)[0][1, 0] > 32
    assert carve(points, [view], head_space(HEAD, HEAD.v_template), HEAD).tolist() == [True, False]


def test_outer_layers_of_a_cube() -> None:
    filled = torch.zeros(9, 9, 9, dtype=torch.bool)
    filled[1:8, 1:8, 1:8] = True
    assert int(outer_layers(filled, 1).sum()) == 7**3 - 5**3
    assert int(outer_layers(filled, 2).sum()) == 7**3 - 3**3


def test_hair_fills_the_shell_between_head_and_ball() -> None:
    hair = hair_gaussians(HEAD, HEAD.v_template, ball_views(), 400, 0.12, 0, seed=0)
    points = hair.on_mesh(HEAD.v_template, HEAD.faces).means
    assert 100 < len(hair) <= 400
    assert hair.is_free.all()
    assert ((points - CENTRE).norm(dim=-1) < RADIUS_M * 1.25).all()
    half_axes = HEAD.v_template.amax(0)
    assert ((points / half_axes).norm(dim=-1) > 0.97).all()
    again = hair_gaussians(HEAD, HEAD.v_template, ball_views(), 400, 0.12, 0, seed=0)
    assert torch.equal(hair.means, again.means)
