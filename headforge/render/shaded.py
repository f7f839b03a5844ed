"""Meshes with vertex colours under studio lights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from headforge.render.mesh import interpolate, rasterize
from headforge.render.shading import downsample_2x2, pixel_normals, sh_irradiance
from headforge.render.spherical_harmonics import sh_basis
from headforge.types import Camera

AMBIENT = 0.32
LAMPS = ((-0.45, 0.5, 0.8, 0.74), (0.8, 0.1, 0.5, 0.24), (0.3, 0.5, -0.9, 0.35))
"""x, y, z of the direction towards each lamp, and its strength: key, fill and rim."""


def studio_light() -> Tensor:
    """Return SH coefficients [9, 3] of white light for `sh_irradiance`: a key, a fill and a rim lamp, and a sky."""
    directions = torch.nn.functional.normalize(torch.tensor([lamp[:3] for lamp in LAMPS]), dim=-1)
    strengths = torch.tensor([lamp[3] for lamp in LAMPS])
    coefficients = math.pi * (strengths[:, None] * sh_basis(2, directions)).sum(0)
    coefficients[0] += AMBIENT * math.sqrt(4 * math.pi)
    return coefficients[:, None].repeat(1, 3)


def shaded_mesh(
    vertices: Tensor, faces: Tensor, colors: Tensor, camera: Camera, light: Tensor, background: float = 1.0
) -> Tensor:
    """Render a matte mesh, antialiased, over a plain background: [H, W, 3] in [0, 1].

    `vertices` [V, 3], `faces` [F, 3], `colors` [V, 3] sRGB, `camera` unbatched, `light` [9, 3] (`studio_light`).
    """
    fine = Camera.stack([camera.resized(2 * camera.width, 2 * camera.height)])
    fragments = rasterize(vertices[None], faces, fine)
    shade = sh_irradiance(pixel_normals(fragments, vertices[None], faces), light)
    lit = interpolate(fragments, colors[faces]) * shade
    image = torch.where(fragments.mask[..., None], lit.clamp(0, 1), torch.full_like(lit, background))
    return downsample_2x2(image)[0]
