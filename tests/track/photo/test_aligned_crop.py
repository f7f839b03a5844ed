"""Aligned crops against values computed by hand, and round trips."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from headforge.errors import ShapeError
from headforge.geometry.cameras import look_at, pinhole_matrix, project
from headforge.track.photo.aligned_crop import AlignedCrop, eg3d_crop, ffhq_crop, five_points
from headforge.types import Camera


def simple_face() -> np.ndarray:
    """Eyes at (80, 100) and (120, 100), mouth corners at (85, 160) and (115, 160)."""
    points = np.full((68, 2), 100.0)
    points[36:42], points[42:48] = (80, 100), (120, 100)
    points[48], points[54], points[30] = (85, 160), (115, 160), (100, 130)
    return points


def test_the_ffhq_quad_is_what_the_formula_gives_by_hand() -> None:
    # Eye to eye (40, 0), eyes to mouth (0, 60): x = (40, 0) - (-60, 0) = (100, 0), long max(2 * 40, 1.8 * 60) = 108;
    # the centre is (100, 100) + 0.1 * (0, 60) = (100, 106).
    crop = ffhq_crop(simple_face(), 512)
    np.testing.assert_allclose(crop.quad, [[-8, -2], [-8, 214], [208, 214], [208, -2]], atol=1e-9)
    wide = simple_face()
    wide[36:42], wide[42:48] = (40, 100), (160, 100)
    # Now the eyes decide: 2 * 120 = 240 > 108.
    np.testing.assert_allclose(ffhq_crop(wide, 512).quad[0], [100 - 240, 106 - 240], atol=1e-9)


@pytest.mark.parametrize("angle_deg", [0.0, 30.0, -75.0])
def test_a_turned_face_gives_a_turned_quad(angle_deg: float) -> None:
    angle = math.radians(angle_deg)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turned = ffhq_crop(1.7 * simple_face() @ turn.T + [13, -4], 256)
    np.testing.assert_allclose(turned.quad, 1.7 * ffhq_crop(simple_face(), 256).quad @ turn.T + [13, -4], atol=1e-9)


def test_points_go_there_and_back() -> None:
    crop = AlignedCrop(np.array([12.0, -7.0]), np.array([1.2, 0.5]), 128)
    points = 300 * np.random.default_rng(0).random((20, 2))
    np.testing.assert_allclose(crop.to_photo(crop.to_crop(points)), points)
    np.testing.assert_allclose(crop.to_crop(crop.quad), [[0, 0], [0, 128], [128, 128], [128, 0]], atol=1e-9)


@pytest.mark.parametrize("right", [(1.0, 0.0), (0.5, 0.2), (2.6, -1.1)])
def test_pixels_are_where_points_are(right: tuple[float, float]) -> None:
    photo = np.zeros((300, 300, 3), np.uint8)
    photo[140:156, 120:136] = 255
    crop = AlignedCrop(np.array([100.0, 120.0]), np.array(right), 120)
    image = crop.cut(photo).astype(float)
    inside = crop.to_photo(np.argwhere(np.ones((120, 120)))[:, ::-1] + 0.5)
    image *= ((inside > 2) & (inside < 298)).all(-1).reshape(120, 120, 1)
    columns, rows = np.meshgrid(np.arange(120) + 0.5, np.arange(120) + 0.5)
    weight = image[..., 0] / image[..., 0].sum()
    centre = np.array([[(columns * weight).sum(), (rows * weight).sum()]])
    np.testing.assert_allclose(crop.to_photo(centre), [[128, 148]], atol=0.3)


def test_outside_the_photo_is_white() -> None:
    crop = AlignedCrop(np.array([-50.0, -50.0]), np.array([1.0, 0.0]), 60)
    image = crop.cut(np.zeros((40, 40, 3), np.uint8))
    assert (image[:49] == 255).all() and (image[51:, 51:] == 0).all()


def test_the_crops_camera_sees_what_the_photos_camera_sees_there() -> None:
    viewmat = look_at(torch.tensor([0.2, 0.1, 1.0]), torch.tensor([0.0, 0.0, 0.0]))
    camera = Camera(pinhole_matrix(700.0, 400, 300), viewmat, 400, 300)
    crop = AlignedCrop(np.array([80.0, 20.0]), np.array([0.9, 0.35]), 256)
    points = 0.1 * torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    seen = project(camera, points)[0].double().numpy()
    np.testing.assert_allclose(project(crop.camera(camera), points)[0].numpy(), crop.to_crop(seen), atol=2e-3)
    rotation = crop.camera(camera).viewmat[:3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-5, rtol=0)


def test_the_eg3d_crop_follows_scale_and_place_of_the_template() -> None:
    template = np.array([[-0.3, 0.3, 0.2], [0.3, 0.3, 0.2], [0.0, 0.0, 0.5], [-0.25, -0.3, 0.2], [0.25, -0.3, 0.21]])
    # Seen from the front at 60 px a unit with the origin at (200, 150): 700 / 300 units are 140 px.
    points = template[:, :2] * [60, -60] + [200, 150]
    crop = eg3d_crop(points, template, 512)
    np.testing.assert_allclose(crop.quad[[0, 2]], [[130, 80], [270, 220]], atol=1e-6)
    np.testing.assert_allclose(crop.to_crop(np.array([[200.0, 150.0]])), [[256, 256]], atol=1e-6)


def test_five_points_are_eyes_nose_and_mouth() -> None:
    np.testing.assert_allclose(five_points(simple_face()), [[80, 100], [120, 100], [100, 130], [85, 160], [115, 160]])


def test_landmarks_that_are_not_finite_are_refused() -> None:
    points = simple_face()
    points[3, 0] = np.nan
    with pytest.raises(ShapeError):
        ffhq_crop(points, 512)
