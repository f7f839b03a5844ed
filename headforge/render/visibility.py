"""Which points of a surface a camera sees."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, normalize

from headforge.geometry.cameras import project
from headforge.render.mesh import rasterize
from headforge.types import Camera

GRAZING_COSINE = 0.05
"""A surface seen at a smaller cosine than this (87 degrees) is taken as hidden."""
OCCLUSION_TOLERANCE_M = 0.008
"""How far behind the nearest surface in its 3x3 pixels a point may lie."""


def visible_points(vertices: Tensor, faces: Tensor, points: Tensor, normals: Tensor, camera: Camera) -> Tensor:
    """Return which of the `points` [B, L, 3] on meshes `vertices` [B, V, 3] with `faces` [F, 3] the cameras [B] see:
    [B, L].

    A point is seen if its side with the normal [B, L, 3] faces the camera, if it lies inside the picture, and if
    nothing of the mesh is in front of it.
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
