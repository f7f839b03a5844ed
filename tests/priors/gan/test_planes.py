"""Feature lookup at points, against matrices and an explicit lookup."""

from __future__ import annotations

import math

import numpy as np
import torch

from headforge.priors.gan.planes import (
    first_frame,
    sample_grids,
    sample_spheres,
    seam_weights,
    second_frame,
    sphere_coordinates,
)


def _roty(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _rotz(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


FRAMES = (_roty(math.pi / 2), _roty(-math.pi / 2) @ _rotz(-math.pi / 2))


def _look_up(plane: np.ndarray, x: float, y: float) -> np.ndarray:
    """Bilinear, pixel centres at half numbers of [-1, 1], zeros outside; plane [C, H, W]."""
    _, height, width = plane.shape
    column, row = (x + 1) * width / 2 - 0.5, (y + 1) * height / 2 - 0.5
    total = np.zeros(plane.shape[0])
    for j in (math.floor(row), math.floor(row) + 1):
        for i in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < width and 0 <= j < height:
                total += (1 - abs(row - j)) * (1 - abs(column - i)) * plane[:, j, i]
    return total


def _spherical(point: np.ndarray) -> tuple[float, float, float]:
    x, y, z = point
    polar = math.acos(z / np.linalg.norm(point)) / math.pi * 2 - 1
    return polar, math.atan2(y, x) / math.pi, 2 * float(np.linalg.norm(point)) / math.sqrt(3) - 1


def _points(n: int) -> torch.Tensor:
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(0)) - 0.5


def test_frames_are_the_published_rotations() -> None:
    points = _points(20)
    for frame, matrix in zip((first_frame, second_frame), FRAMES, strict=True):
        assert np.allclose(frame(points).numpy(), points.numpy() @ matrix.T, atol=1e-6)


def test_coordinates_and_weights_are_the_published_formulas() -> None:
    points = _points(20)
    found = sphere_coordinates(points)
    expected = np.array([_spherical(point) for point in points.double().numpy()])
    assert np.allclose(found.numpy(), expected, atol=1e-5)
    weights = (1 + np.cos(np.pi * expected[:, 0])) / 2 * (1 + np.cos(np.pi * expected[:, 1])) / 2
    assert np.allclose(seam_weights(found).numpy(), weights, atol=1e-5)


def test_weights_vanish_at_poles_and_seam() -> None:
    poles_and_seam = torch.tensor([[0.0, 0.0, 0.4], [0.0, 0.0, -0.4], [-0.3, 0.0, 0.1]])
    assert seam_weights(sphere_coordinates(poles_and_seam)).abs().max() < 1e-6
    assert torch.isclose(seam_weights(sphere_coordinates(torch.tensor([0.4, 0.0, 0.0]))), torch.tensor(1.0))


def test_no_point_is_on_both_spheres_seams() -> None:
    points = _points(2000)
    total = sum(seam_weights(sphere_coordinates(frame(points))) for frame in (first_frame, second_frame))
    assert float(total.min()) > 1e-3  # pyright: ignore[reportAttributeAccessIssue]


def test_spheres_against_a_look_up_written_out() -> None:
    torch.manual_seed(1)
    planes, points, box_warp = torch.randn(1, 2, 3, 4, 8, 8), _points(15), 1.3
    found = sample_spheres(planes, points[None], box_warp)[0].numpy()
    for point, features in zip(points.double().numpy() * 2 / box_warp, found, strict=True):
        total, weight = np.zeros(4), 1e-8
        for sphere, matrix in enumerate(FRAMES):
            polar, azimuth, radius = _spherical(matrix @ point)
            share = (1 + math.cos(math.pi * polar)) * (1 + math.cos(math.pi * azimuth)) / 4
            own = planes[0, sphere].double().numpy()
            for number, (x, y) in enumerate(((polar, azimuth), (polar, radius), (azimuth, radius))):
                total += share * _look_up(own[number], x, y) / 3
            weight += share
        assert np.allclose(features, total / weight, atol=1e-4)


def test_grids_read_xy_xz_and_yz_with_the_third_axis_as_depth() -> None:
    points = torch.tensor([[0.10, -0.20, 0.15]])
    n = 64
    ramp = (torch.arange(n) + 0.5) / n * 2 - 1
    along_depth, along_height, along_width = (
        ramp.reshape(shape).expand(n, n, n) for shape in ((n, 1, 1), (1, n, 1), (1, 1, n))
    )
    ramps = torch.stack([along_width, along_height, along_depth])
    for number, axes in enumerate(((0, 1, 2), (0, 2, 1), (1, 2, 0))):
        grids = torch.zeros(1, 3, 3, n, n, n)
        grids[0, number] = ramps
        found = 3 * sample_grids(grids, points[None], box_warp=1.0)[0, 0]
        assert torch.allclose(found, 2 * points[0, list(axes)], atol=1e-5)
