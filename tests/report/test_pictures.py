"""Pictures drawn for the report."""

from __future__ import annotations

import math

import numpy as np
import torch

from headforge.flame.model import pose_head
from headforge.geometry.cameras import focal_px_from_fov, orbit_camera, project
from headforge.report import pictures
from headforge.types import Camera, HeadParams
from tests.heads import tiny_head

CAMERA = orbit_camera(20.0, 10.0, distance_m=1.0, focal_px=focal_px_from_fov(22, 64), width=64, height=64)


def test_psnr() -> None:
    truth = np.full((4, 4, 3), 100, np.uint8)
    assert pictures.psnr_db(truth, truth) == math.inf
    assert math.isclose(pictures.psnr_db(truth + 51, truth), -10 * math.log10(0.04), abs_tol=1e-9)


def test_error_map_is_white_without_error_and_darkens_with_it() -> None:
    truth = np.full((1, 3, 3), 100, np.uint8)
    image = truth.copy()
    image[0, 1] += 20
    image[0, 2] += 100
    shown = pictures.error_map(image, truth).astype(int).sum(-1)[0]
    assert shown[0] == 3 * 255
    assert shown[0] > shown[1] > shown[2]


def test_error_map_does_not_wrap_around() -> None:
    dark, light = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert (pictures.error_map(dark, light) == pictures.error_map(light, dark)).all()


def test_checkerboard_shows_through_the_background_only() -> None:
    image = np.full((32, 32, 3), 10, np.uint8)
    mask = np.zeros((32, 32), np.uint8)
    mask[:, :16] = 255
    shown = pictures.over_checkerboard(image, mask)
    assert (shown[:, :16] == 10).all()
    assert set(np.unique(shown[:, 16:])) == {214, 238}


def test_feature_colours_are_white_where_nothing_is_and_differ_where_features_do() -> None:
    features, alpha = np.zeros((2, 8, 8, 4)), np.zeros((2, 8, 8))
    alpha[:, 2:6, 2:6] = 1
    features[:, 2:6, 2:6] = np.random.default_rng(0).normal(size=(2, 4, 4, 4))
    shown = pictures.feature_colours(features, alpha)
    assert (shown[alpha == 0] == 255).all()
    assert shown[alpha == 1].std() > 20
    assert (shown == pictures.feature_colours(features, alpha)).all()


def test_feature_colours_of_nothing_are_white() -> None:
    assert (pictures.feature_colours(np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 4))) == 255).all()


def test_mesh_overlay_covers_the_head_and_nothing_else() -> None:
    head = tiny_head()
    image = np.full((64, 64, 3), 255, np.uint8)
    shown = pictures.mesh_overlay(image, head, head.neutral(), CAMERA)
    batched = HeadParams(head.model_id, **{k: v[None] for k, v in head.neutral().tensors().items()})
    points, _ = project(Camera.stack([CAMERA]), pose_head(head, batched))
    low, high = points[0].amin(0), points[0].amax(0)
    rows, columns = np.nonzero((shown != 255).any(-1))
    assert abs(columns.min() - float(low[0])) < 1.5
    assert abs(columns.max() + 1 - float(high[0])) < 1.5
    assert abs(rows.min() - float(low[1])) < 1.5
    assert abs(rows.max() + 1 - float(high[1])) < 1.5


def test_dots_are_where_the_points_are() -> None:
    image = np.full((64, 64, 3), 255, np.uint8)
    shown = pictures.dots_overlay(image, [(np.array([[20.5, 40.5]]), pictures.TRACKED_RGB)])
    rows, columns = np.nonzero((shown != 255).any(-1))
    assert abs(rows.mean() + 0.5 - 40.5) < 0.6
    assert abs(columns.mean() + 0.5 - 20.5) < 0.6


def test_vertex_shift_is_a_distance_in_pixels() -> None:
    head = tiny_head()
    params = head.neutral()
    ids = torch.arange(head.n_vertices)
    assert pictures.vertex_shift_px(head, (params, CAMERA), (params, CAMERA), ids) == 0
    shifted = Camera(CAMERA.K.clone(), CAMERA.viewmat, 64, 64)
    shifted.K[0, 2] += 3
    shifted.K[1, 2] += 4
    assert math.isclose(pictures.vertex_shift_px(head, (params, CAMERA), (params, shifted), ids), 5, abs_tol=1e-4)
