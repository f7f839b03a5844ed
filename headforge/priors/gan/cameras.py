"""Cameras of the generators: their space, their labels, and conversion to metres."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from headforge.geometry.cameras import camera_to_eg3d, look_at, pinhole_matrix
from headforge.types import Camera

FOCAL = 4.2647
"""Focal length of every training camera, in picture widths."""
UNIT_M = 0.417
"""Metres per unit of the generators' space.

Their pictures were cropped so that 3DDFA_V2's head model, which is at real size, has a fixed scale: 240 mm over a
square of 512 pixels. The training picture shows 1.1 times that, which is 2.7 / 4.2647 units at the origin's distance.
"""


def gan_camera(
    yaw_deg: float, pitch_deg: float, size: int, radius: float, pivot: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Camera:
    """Return a training camera in the generator's units: on the sphere about the origin, looking at `pivot`.

    yaw_deg is the true azimuth (positive towards the subject's left), pitch_deg the true elevation. In EG3D's
    `LookAtPoseSampler` these are h = pi / 2 + yaw and v = pi / 2 * (1 - sin(pitch)): its v is not an elevation. On the
    CPU.
    """
    yaw, pitch = math.radians(yaw_deg), math.radians(pitch_deg)
    direction = [math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)]
    centre = radius * torch.tensor(direction, dtype=torch.float64, device="cpu")
    viewmat = look_at(centre, torch.tensor(pivot, dtype=torch.float64, device="cpu")).float()
    return Camera(pinhole_matrix(FOCAL * size, size, size), viewmat, size, size)


def in_metres(camera: Camera, unit_m: float = UNIT_M) -> Camera:
    """Return the same camera in a world whose unit is a metre."""
    viewmat = camera.viewmat.clone()
    viewmat[..., :3, 3] *= unit_m
    return Camera(camera.K, viewmat, camera.width, camera.height)


def frontal_label(radius: float, pivot: tuple[float, float, float]) -> Tensor:
    """Return the label [1, 25], on the CPU, of the camera in front of the face, which conditions the mapping."""
    return camera_to_eg3d(gan_camera(0.0, 0.0, 1, radius, pivot))[None]
