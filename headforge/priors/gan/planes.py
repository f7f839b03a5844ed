"""Feature lookup at 3-D points: SphereHead's two spherical tri-planes, PanoHead's tri-grid.

Points are in the generator's units, inside a cube of side `box_warp` about the origin. Sources: Li et al. 2024
(SphereHead), sections 3.2 and 3.3; An et al. 2023 (PanoHead), section 3.3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

N_FEATURES = 32
SEAM_EPSILON = 1e-8
SPHERE_PLANES = ((0, 1), (0, 2), (1, 2))
"""Indices of the coordinates (polar angle, azimuth, radius) along the width and the height of each plane."""
GRID_AXES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
"""Indices of x, y, z along the width, the height and the depth of each grid."""


def first_frame(points: Tensor) -> Tensor:
    """Rotate points [..., 3] by 90 degrees about y: the first sphere's axis and seam."""
    x, y, z = points.unbind(-1)
    return torch.stack([z, y, -x], dim=-1)


def second_frame(points: Tensor) -> Tensor:
    """Rotate points [..., 3] by -90 degrees about z, then -90 degrees about y: the second sphere's axis and seam."""
    x, y, z = points.unbind(-1)
    return torch.stack([-z, -x, y], dim=-1)


def sphere_coordinates(points: Tensor) -> Tensor:
    """Return polar angle from +z, azimuth and radius [..., 3] of points in the cube [-1, 1]^3, scaled to [-1, 1]."""
    x, y, z = points.unbind(-1)
    polar = 2 * torch.atan2(torch.hypot(x, y), z) / math.pi - 1
    azimuth = torch.atan2(y, x) / math.pi
    radius = 2 * points.norm(dim=-1) / math.sqrt(3) - 1
    return torch.stack([polar, azimuth, radius], dim=-1)


def seam_weights(coordinates: Tensor) -> Tensor:
    """Return the distance [...] of `sphere_coordinates` from the poles and the seam: 0 on them, 1 opposite."""
    polar, azimuth = coordinates[..., 0], coordinates[..., 1]
    return (1 + torch.cos(math.pi * polar)) * (1 + torch.cos(math.pi * azimuth)) / 4


def sample_spheres(planes: Tensor, points: Tensor, box_warp: float) -> Tensor:
    """Return features [B, M, C] of points [B, M, 3] from planes [B, 2, 3, C, H, W]: the mean over three planes.

    The two spheres are weighted by the distance from their own poles and seams.
    """
    scaled = points * (2 / box_warp)
    total, weight = torch.zeros_like(points[..., :1]), torch.full_like(points[..., :1], SEAM_EPSILON)
    for sphere, frame in enumerate((first_frame, second_frame)):
        coordinates = sphere_coordinates(frame(scaled))
        share = seam_weights(coordinates)[..., None]
        features = sum(
            _sample_plane(planes[:, sphere, number], coordinates[..., axes])
            for number, axes in enumerate(SPHERE_PLANES)
        )
        total, weight = total + share * features / len(SPHERE_PLANES), weight + share
    return total / weight


def sample_grids(grids: Tensor, points: Tensor, box_warp: float) -> Tensor:
    """Return features [B, M, C] of points [B, M, 3] from three grids [B, 3, C, D, H, W]: their mean."""
    scaled = points * (2 / box_warp)
    features = torch.zeros((), dtype=points.dtype, device=points.device)
    for number, axes in enumerate(GRID_AXES):
        found = functional.grid_sample(grids[:, number], scaled[:, None, None, :, axes], align_corners=False)
        features = features + found[:, :, 0, 0].transpose(1, 2)
    return features / len(GRID_AXES)


def _sample_plane(plane: Tensor, positions: Tensor) -> Tensor:
    """Sample a plane [B, C, H, W] at positions [B, M, 2] in [-1, 1], zeros outside: [B, M, C]."""
    return functional.grid_sample(plane, positions[:, None], align_corners=False)[:, :, 0].transpose(1, 2)
