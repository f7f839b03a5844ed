"""The generators' cameras against EG3D's sampler, written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from headforge.geometry.cameras import camera_to_eg3d, yaw_pitch_deg
from headforge.priors.gan.cameras import frontal_label, gan_camera, in_metres


def _look_at_pose_sampler(h: float, v: float, pivot: np.ndarray, radius: float) -> np.ndarray:
    """EG3D's `LookAtPoseSampler.sample` (camera_utils.py) from its description: camera to world [4, 4]."""
    polar = math.acos(1 - 2 * v / math.pi)
    origin = radius * np.array(
        [math.sin(polar) * math.cos(math.pi - h), math.cos(polar), math.sin(polar) * math.sin(math.pi - h)]
    )
    forward = (pivot - origin) / np.linalg.norm(pivot - origin)
    right = -np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.stack([right, down, forward], axis=-1), origin
    return pose


@pytest.mark.parametrize("pivot", [(0.0, 0.0, 0.0), (0.0, 0.0, 0.2)])
@pytest.mark.parametrize(("yaw_deg", "pitch_deg"), [(0, 0), (60, 45), (-35, -30), (150, 10)])
def test_labels_are_those_of_the_official_sampler(yaw_deg: float, pitch_deg: float, pivot: tuple[float, ...]) -> None:
    x, y, z = pivot
    label = camera_to_eg3d(gan_camera(yaw_deg, pitch_deg, 64, 2.7, (x, y, z)))
    h = math.pi / 2 + math.radians(yaw_deg)
    v = math.pi / 2 * (1 - math.sin(math.radians(pitch_deg)))
    expected = _look_at_pose_sampler(h, v, np.array(pivot), 2.7)
    assert np.allclose(label[:16].reshape(4, 4).numpy(), expected, atol=1e-5)
    assert np.allclose(label[16:].numpy(), [4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1], atol=1e-6)


def test_metres_scale_the_distance_and_nothing_else() -> None:
    camera = gan_camera(25.0, -12.0, 64, 2.7)
    scaled = in_metres(camera, 0.4)
    assert torch.allclose(scaled.centre, 0.4 * camera.centre, atol=1e-6)
    assert [round(float(angle), 3) for angle in yaw_pitch_deg(scaled)] == [25.0, -12.0]
    assert torch.equal(scaled.K, camera.K)


def test_frontal_label_stands_in_front() -> None:
    label = frontal_label(2.7, (0.0, 0.0, 0.0))[0]
    assert torch.allclose(label[[3, 7, 11]], torch.tensor([0.0, 0.0, 2.7]), atol=1e-6)
