"""Gaze from pupils: eye rotations are recovered for any camera; invalid pupils leave the eyes straight ahead."""

from __future__ import annotations

import math

import pytest
import torch

from headforge.flame.builtin.head import builtin_head
from headforge.flame.model import pose_head
from headforge.geometry.cameras import orbit_camera, project
from headforge.track.gaze import pupil_vertices, solve_gaze
from headforge.types import Camera, HeadParams


def looking(gaze: tuple[float, float, float, float]) -> HeadParams:
    """A rotated head with eyes rotated by (left x, left y, right x, right y)."""
    head = builtin_head()
    generator = torch.Generator().manual_seed(2)
    left_x, left_y, right_x, right_y = gaze
    return head.neutral().replace(
        shape=0.6 * torch.randn(head.n_shape, generator=generator),
        rotation=torch.tensor([0.1, -0.2, 0.05]),
        neck=torch.tensor([-0.05, 0.15, 0.0]),
        translation=torch.tensor([0.01, 0.02, -0.03]),
        eyes=torch.tensor([left_x, left_y, 0.0, right_x, right_y, 0.0]),
    )


def seen_pupils(params: HeadParams, camera: Camera) -> torch.Tensor:
    head = builtin_head()
    vertices = pose_head(head, HeadParams.stack([params]))[0]
    return project(camera, vertices[list(pupil_vertices(head))])[0]


@pytest.mark.parametrize("yaw_deg", [-25.0, 0.0, 20.0])
def test_the_eyes_turns_come_back(yaw_deg: float) -> None:
    camera = orbit_camera(yaw_deg, 5.0, distance_m=0.8, focal_px=900, width=512, height=512)
    params = looking((0.1, -0.2, 0.08, -0.15))
    eyes = solve_gaze(builtin_head(), params, camera, seen_pupils(params, camera))
    seen = seen_pupils(params.replace(eyes=eyes), camera)
    torch.testing.assert_close(seen, seen_pupils(params, camera), atol=0.02, rtol=0)
    # A turn about x and y has hardly any torsion, so the same angles are found.
    torch.testing.assert_close(eyes, params.eyes, atol=0.03, rtol=0)


def test_straight_eyes_stay_straight_and_bad_pupils_leave_them_so() -> None:
    camera = orbit_camera(0.0, 0.0, distance_m=0.8, focal_px=900, width=512, height=512)
    params = looking((0.0, 0.0, 0.0, 0.0))
    pupils = seen_pupils(params, camera)
    assert float(solve_gaze(builtin_head(), params, camera, pupils).abs().max()) < 1e-2
    pupils[0] = math.nan
    pupils[1] += 400
    eyes = solve_gaze(builtin_head(), params, camera, pupils)
    assert torch.equal(eyes, torch.zeros(6))
