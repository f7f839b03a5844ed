"""Overlay of the fitted mesh and landmarks on a picture."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from headforge.flame.model import HeadModel
from headforge.geometry.cameras import project
from headforge.geometry.meshes import face_normals
from headforge.types import Camera

MESH_RGBA = (60, 200, 255, 90)
OBSERVED_RGBA = (255, 70, 60, 255)
FITTED_RGBA = (90, 255, 90, 255)
SUPERSAMPLING = 2


def draw_overlay(
    image: np.ndarray, head: HeadModel, vertices: Tensor, camera: Camera, observed: np.ndarray, fitted: np.ndarray
) -> np.ndarray:
    """Draw visible mesh edges, observed (red) and fitted (green) landmarks on a copy of `image` [H, W, 3] uint8.

    `vertices` [N, 3] posed, `camera` unbatched, landmarks [68, 2] in pixels.
    """
    height, width = image.shape[:2]
    pixels, _ = project(camera, vertices)
    towards = camera.centre - vertices[head.faces].mean(1)
    front = (face_normals(vertices, head.faces) * towards).sum(-1) > 0
    edges = torch.cat([head.faces[front][:, pair] for pair in ([0, 1], [1, 2], [2, 0])]).sort(-1).values.unique(dim=0)
    layer = Image.new("RGBA", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    pen = ImageDraw.Draw(layer)
    for line in (pixels[edges] * SUPERSAMPLING).flatten(1).tolist():
        pen.line(line, fill=MESH_RGBA)
    radius = SUPERSAMPLING * max(1.5, width / 220)
    for (ox, oy), (fx, fy) in zip(observed * SUPERSAMPLING, fitted * SUPERSAMPLING, strict=True):
        pen.line((ox, oy, fx, fy), fill=OBSERVED_RGBA, width=SUPERSAMPLING)
        pen.ellipse((ox - radius, oy - radius, ox + radius, oy + radius), outline=OBSERVED_RGBA, width=2)
        pen.ellipse((fx - radius / 2, fy - radius / 2, fx + radius / 2, fy + radius / 2), fill=FITTED_RGBA)
    layer = layer.resize((width, height), Image.Resampling.BOX)
    return np.asarray(Image.alpha_composite(Image.fromarray(image).convert("RGBA"), layer).convert("RGB"))
