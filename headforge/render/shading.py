"""Colours of surface points: spherical-harmonic light, textures, and 2x2 supersampling."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from headforge.errors import ShapeError
from headforge.geometry.meshes import face_normals, vertex_normals
from headforge.render.mesh import MeshFragments, interpolate
from headforge.render.spherical_harmonics import sh_basis

IRRADIANCE_FACTORS = (1.0, 2 / 3, 2 / 3, 2 / 3, 0.25, 0.25, 0.25, 0.25, 0.25)
"""Clamped-cosine convolution of SH degrees 0, 1, 2, divided by pi (Ramamoorthi and Hanrahan 2001, equation 8)."""


def sh_irradiance(normals: Tensor, coefficients: Tensor) -> Tensor:
    """Return the light [*, 3] that a white matte surface with unit `normals` [*, 3] reflects.

    `coefficients` [9, 3] (or [*, 9, 3], broadcast against the normals) are the SH coefficients of the incoming
    radiance, in the order of `spherical_harmonics.sh_basis`. Light of radiance 1 from all directions (coefficient 0 =
    sqrt(4 pi), others 0) gives 1. Multiply by the albedo.
    """
    if coefficients.shape[-2:] != (9, 3):
        raise ShapeError("coefficients", "[*, 9, 3]", tuple(coefficients.shape))
    basis = sh_basis(2, normals) * normals.new_tensor(IRRADIANCE_FACTORS)
    return (basis[..., None, :] @ coefficients)[..., 0, :]


def pixel_normals(fragments: MeshFragments, vertices: Tensor, faces: Tensor, *, smooth: bool = True) -> Tensor:
    """Return the unit world normals [B, H, W, 3] of the surface at each pixel, zero for background.

    `vertices` [B, V, 3] and `faces` [F, 3] are the rasterized ones. `smooth` interpolates the area-weighted vertex
    normals, otherwise every triangle is flat. Normals point outwards, also where the inside of a surface is visible.
    Differentiable with respect to the vertices.
    """
    if smooth:
        corners = vertex_normals(vertices, faces)[:, faces]
    else:
        corners = face_normals(vertices, faces)[:, :, None].expand(-1, -1, 3, -1)
    return normalize(interpolate(fragments, corners), dim=-1)


def downsample_2x2(image: Tensor) -> Tensor:
    """Average 2x2 blocks, [*, 2H, 2W, C] to [*, H, W, C], to resolve 2x2 supersampling."""
    height, width = image.shape[-3:-1]
    if height % 2 or width % 2:
        raise ShapeError("image", "[*, 2H, 2W, C]", tuple(image.shape))
    blocks = image.reshape(*image.shape[:-3], height // 2, 2, width // 2, 2, image.shape[-1])
    return blocks.mean(dim=(-4, -2))


def sample_texture(texture: Tensor, uv: Tensor) -> Tensor:
    """Sample bilinearly [*, C] from `texture` [Ht, Wt, C] at `uv` [*, 2]; differentiable with respect to both.

    u runs right, v up: row = (1 - v) * Ht, column = u * Wt, texel centres at +0.5. Outside [0, 1] the edge repeats.
    """
    if texture.dim() != 3:
        raise ShapeError("texture", "[Ht, Wt, C]", tuple(texture.shape))
    grid = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], dim=-1).reshape(1, 1, -1, 2).to(texture.dtype)
    samples = grid_sample(texture.permute(2, 0, 1)[None], grid, padding_mode="border", align_corners=False)
    return samples[0, :, 0].T.reshape(*uv.shape[:-1], texture.shape[-1])
