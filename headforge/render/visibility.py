"""Visibility of surface points from cameras."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, normalize

from headforge.geometry.cameras import project
from headforge.render.mesh import rasterize
from headforge.types import Camera

GRAZING_COSINE = 0.05
"""Surfaces at a smaller cosine than this (87 degrees) count as hidden."""
OCCLUSION_TOLERANCE_M = 0.008
"""Largest distance of a visible point behind the nearest surface in its 3x3 pixels."""


def visible_points(vertices: Tensor, faces: Tensor, points: Tensor, normals: Tensor, camera: Camera) -> Tensor:
    """Return the visibility [B, L] of `points` [B, L, 3] on meshes `vertices` [B, V, 3] with `faces` [F, 3].

    A point is visible if its normal [B, L, 3] faces the camera, if it lies inside the picture, and if the mesh does not
    occlude it.
    """
    towards_camera = normalize(camera.centre[:, None] - points, dim=-1)
    faces_camera = (normals * towards_camera).sum(-1) > GRAZING_COSINE
    pixels, depth = project(camera, points)
    buffer = rasterize(vertices, faces, camera).depth
    farthest = max_pool2d(torch.where(buffer > 0, buffer, torch.inf)[:, None], 3, stride=1, padding=1)[:, 0]
    columns, rows = pixels.floor().long().unbind(-1)
    inside = (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
    batch = torch.arange(len(points), device=points.device)[:, None]
    surface = farthest[batch, rows.clamp(0, camera.height - 1), columns.clamp(0, camera.width - 1)]
    return faces_camera & inside & (depth <= surface + OCCLUSION_TOLERANCE_M)
