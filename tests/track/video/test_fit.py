"""Whole films of landmarks: frames that fail, gaps, cuts, and the still camera's parameters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from headforge.flame.model import landmarks, pose_head
from headforge.geometry.cameras import project
from headforge.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from headforge.track.solver.basis import landmark_basis
from headforge.track.video.config import VideoConfig
from headforge.track.video.detect import LOST, FilmLandmarks
from headforge.track.video.fit import film_breaks, fit_landmarks, smooth_settings
from headforge.track.video.pose import fill_gaps, moving_head, second_differences, still_camera
from headforge.types import Camera
from tests.heads import tiny_head
from tests.track.films import SIZE, make_film

CONFIG = VideoConfig(n_iterations=12)


def damaged(seen: FilmLandmarks, rows: list[int], value: float, how: str | None = None) -> FilmLandmarks:
    points, reasons = seen.points.copy(), list(seen.how)
    points[rows] = value
    for row in rows:
        reasons[row] = how or reasons[row]
    return dataclasses.replace(seen, points=points, how=tuple(reasons))


def test_a_still_camera_and_a_moving_head_show_what_the_moving_cameras_saw() -> None:
    head = tiny_head()
    film = make_film(head, n_frames=5)
    camera = still_camera(film.state, SIZE, SIZE)
    params = moving_head(head, landmark_basis(head), film.state, camera)
    batch = Camera(camera.K.expand(5, 3, 3), camera.viewmat.expand(5, 4, 4), SIZE, SIZE)
    pixels = project(batch, landmarks(head, pose_head(head, params)))[0]
    torch.testing.assert_close(pixels.double() - SIZE / 2, film.points, atol=1e-3, rtol=0)


def test_every_frame_has_a_row_and_bad_ones_a_reason() -> None:
    head, film = tiny_head(), make_film(tiny_head(), n_frames=16, noise_px=0.5)
    seen = damaged(film.landmarks(), [0, 1, 7], np.nan, LOST)
    seen = damaged(seen, [9], np.nan)
    points = seen.points.copy()
    points[12] = SIZE * np.random.default_rng(0).random((68, 2))
    points[4, :5] = np.nan
    found = fit_landmarks(CONFIG, head, dataclasses.replace(seen, points=points), 25.0)
    assert found is not None and len(found.reasons) == 16
    assert [row for row, reason in enumerate(found.reasons) if reason] == [0, 1, 7, 9, 12]
    assert found.reasons[7] == LOST and "finite" in found.reasons[9] and "outer-eye" in found.reasons[12]
    assert found.n_landmarks[4] == 63 and found.n_landmarks[5] == 68
    vertices = pose_head(head, found.params)
    camera = Camera(found.camera.K.expand(16, 3, 3), found.camera.viewmat.expand(16, 4, 4), SIZE, SIZE)
    pixels = project(camera, landmarks(head, vertices))[0].double() - SIZE / 2
    error = (pixels - film.points).norm(dim=-1)[:, 17:].mean(1)
    good = [row for row, reason in enumerate(found.reasons) if not reason]
    assert float(error[good].max()) < 2.5
    assert float(error[[7, 9, 12]].max()) < 4, "in between the film goes on"


def test_no_frame_with_landmarks_gives_nothing() -> None:
    seen = damaged(make_film(tiny_head(), n_frames=3).landmarks(), [0, 1, 2], np.nan, LOST)
    assert fit_landmarks(CONFIG, tiny_head(), seen, 25.0) is None


def test_the_film_is_cut_where_the_face_jumps_or_is_gone_for_long() -> None:
    seen = make_film(tiny_head(), n_frames=40).landmarks()
    points = seen.points.copy()
    points[30:] += 90
    rows = np.array([*range(10), *range(14, 20), *range(33, 40)])
    found = film_breaks(CONFIG, points, rows, 25.0)
    assert found.nonzero()[:, 0].tolist() == [15], "a gap of 13 frames; one of 4 is bridged"
    rows = np.arange(40)
    assert film_breaks(CONFIG, points, rows, 25.0).nonzero()[:, 0].tolist() == [29]


def test_smoothness_means_the_same_at_another_frame_rate() -> None:
    slow, fast = smooth_settings(CONFIG, 25.0), smooth_settings(CONFIG, 100.0)
    assert fast.turn_rad == pytest.approx(slow.turn_rad / 8)
    assert fast.expr == pytest.approx(slow.expr / 8)


def test_gaps_are_filled_along_the_shortest_way() -> None:
    head = tiny_head()
    params = head.neutral((2,)).replace(
        rotation=torch.tensor([[0.0, 3.0, 0.0], [0.0, -3.0, 0.0]]), translation=torch.tensor([[0.0, 0, 0], [4.0, 0, 0]])
    )
    filled = fill_gaps(params, np.array([1, 5]), 8)
    torch.testing.assert_close(filled.translation[:, 0], torch.tensor([0.0, 0, 1, 2, 3, 4, 4, 4]))
    half = axis_angle_to_matrix(filled.rotation[3])
    torch.testing.assert_close(half, axis_angle_to_matrix(torch.tensor([0.0, torch.pi, 0.0])), atol=1e-5, rtol=0)


def test_second_differences_are_those_of_three_frames_in_a_row() -> None:
    head = tiny_head()
    times = torch.arange(6.0)[:, None]
    params = head.neutral((6,)).replace(
        rotation=torch.deg2rad(times**2) * torch.tensor([0.0, 1.0, 0.0]), translation=0.001 * times**2 * torch.ones(3)
    )
    turn, place = second_differences(params, np.array([0, 1, 2, 4, 5]))
    np.testing.assert_allclose(turn, [2.0], atol=1e-4)
    np.testing.assert_allclose(place, [2 * 3**0.5], atol=1e-3)
    steady = matrix_to_axis_angle(axis_angle_to_matrix(params.rotation))
    torch.testing.assert_close(steady, params.rotation)
