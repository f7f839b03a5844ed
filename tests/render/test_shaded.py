"""A mesh in studio light."""

from __future__ import annotations

import torch

from headforge.geometry.cameras import orbit_camera
from headforge.render.shaded import shaded_mesh, studio_light
from tests.heads import tiny_head

HEAD = tiny_head()
CAMERA = orbit_camera(0.0, 0.0, distance_m=1.0, focal_px=64 / 0.4, width=64, height=64)


def draw(level: float) -> torch.Tensor:
    colors = torch.full((HEAD.n_vertices, 3), level)
    return shaded_mesh(HEAD.v_template, HEAD.faces, colors, CAMERA, studio_light(), background=0.5)


def test_background_is_plain_and_edges_are_smooth() -> None:
    image = draw(0.8)
    assert image.shape == (64, 64, 3)
    assert (image[0] == 0.5).all() and (image[:, 0] == 0.5).all()


def test_light_scales_colours_and_comes_from_the_upper_left_front() -> None:
    image, darker = draw(0.6), draw(0.3)
    middle = image[32, 32, 0]
    assert 0.5 < float(middle) < 0.8
    torch.testing.assert_close(darker[32, 32], image[32, 32] / 2)
    assert image[32, 26, 0] > image[32, 38, 0], "the key lamp is on the picture's left"
    assert image[24, 32, 0] > image[40, 32, 0], "and above"
