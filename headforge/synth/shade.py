"""Colours of skin and hair under a `Light`. Light is added in linear colour and returned as sRGB."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from headforge.render.shading import sample_texture, sh_irradiance
from headforge.synth.hair import HairShell
from headforge.synth.lighting import Light
from headforge.synth.samplers import item_rng

GAMMA = 2.2
STRAND_PIXELS = 256
N_STRAND_LEVELS = 5
_STRAND_TEXEL_M = 0.00018
"""About how wide a texel of the finest level is on the head."""


@dataclass(frozen=True)
class SkinSurface:
    """P visible points of the head."""

    normals: Tensor
    """[P, 3], not normalised."""
    points: Tensor
    """[P, 3]."""
    light: Tensor
    """[P, 3] share of the light that arrives."""
    uv: Tensor
    """[P, 2]."""


@dataclass(frozen=True)
class HairSurface:
    """A subject's hair, ready to be drawn."""

    vertices: Tensor
    """[n, 3]."""
    faces: Tensor
    """[f, 3]."""
    attributes: Tensor
    """[n, 16] normal 3, place 3, light 3, tangent 3, strand 2, cover 1, shade 1."""
    color: Tensor
    """[3] linear."""
    strands: tuple[Tensor, ...]
    """What `strand_texture` gives."""
    is_open: bool
    """Whether its inner side can be seen: hair that hangs."""

    @staticmethod
    def make(vertices: Tensor, faces: Tensor, normals: Tensor, shell: HairShell, light: Tensor, srgb: np.ndarray,
             strands: tuple[Tensor, ...], is_open: bool) -> HairSurface:  # fmt: skip
        """Gather what shading needs at the vertices."""
        rest = [shell.strand, shell.cover[:, None], shell.shade[:, None]]
        extra = torch.tensor(np.concatenate(rest, -1), dtype=torch.float32)
        tangents = _tangents(vertices, faces, extra[:, :2])
        attributes = torch.cat([normals, vertices, light, tangents, extra], -1)
        return HairSurface(
            vertices, faces, attributes, torch.tensor(srgb, dtype=torch.float32) ** GAMMA, strands, is_open
        )


def _tangents(vertices: Tensor, faces: Tensor, strand: Tensor) -> Tensor:
    """[n, 3] unit direction in which the second strand coordinate grows."""
    p, s = vertices[faces], strand[faces]
    e1, e2 = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
    (u1, v1), (u2, v2) = (s[:, 1] - s[:, 0]).unbind(-1), (s[:, 2] - s[:, 0]).unbind(-1)
    determinant = u1 * v2 - u2 * v1
    along = (u1[:, None] * e2 - u2[:, None] * e1) * determinant.sign()[:, None]
    out = torch.zeros_like(vertices)
    for corner in range(3):
        out.index_add_(0, faces[:, corner], along)
    return normalize(out, dim=-1)


_ISOTROPIC_LAYERS = {"afro": ((0.9, 1.2, 0.5), (2.2, 3.0, 0.5)), "buzz": ((0.7, 1.0, 0.6), (4.0, 9.0, 0.2))}
"""Width across, length along and weight of the streaks of hair too short or curly to show strands."""


def strand_texture(seed: int, subject: int, wave: float, style: str) -> tuple[Tensor, ...]:
    """Periodic streaks, locks and single hairs, with how steeply their brightness changes across.

    [S, S, 2], then the same at half the size and so on, each padded by one texel that repeats the other side.
    """
    rng = item_rng(seed, "strands", subject)
    n = STRAND_PIXELS
    total = np.zeros((n, n))
    layers = ((0.7, 14, 0.4), (2.5, 26, 0.35), (8.0, 44, 0.4), (20.0, 70, 0.35))
    for sigma_across, sigma_along, weight in _ISOTROPIC_LAYERS.get(style, layers):
        along = sigma_along
        layer = ndimage.gaussian_filter(rng.normal(size=(n, n)), (along, sigma_across), mode="wrap")
        total += weight * layer / layer.std()
    shift = 9.0 * wave * np.sin(2 * np.pi * np.arange(n) / n * 2)
    columns = (np.arange(n)[None] + shift[:, None]).astype(int) % n
    total = np.take_along_axis(total, columns, 1)
    total = total / total.std()
    streaks = np.clip(0.5 + 0.26 * total, 0, 1)
    slope = np.roll(total, -1, 1) - np.roll(total, 1, 1)
    level = np.stack([streaks, slope], -1).astype(np.float32)
    levels = []
    for _ in range(N_STRAND_LEVELS):
        levels.append(torch.from_numpy(np.pad(level, ((1, 1), (1, 1), (0, 0)), mode="wrap")))
        level = (level[0::2, 0::2] + level[1::2, 0::2] + level[0::2, 1::2] + level[1::2, 1::2]) / 4
    return tuple(levels)


def _to_srgb(linear: Tensor) -> Tensor:
    """Compress highlights softly, then encode."""
    return (linear / (1 + 0.10 * linear)).mul(1.10).clamp(0, 1) ** (1 / GAMMA)


def shade_skin(surface: SkinSurface, texture: Tensor, light: Light, eye: Tensor) -> Tensor:
    """sRGB [P, 3] of points of the head seen from `eye` [3]."""
    normals = normalize(surface.normals, dim=-1)
    painted = sample_texture(texture, surface.uv)
    albedo, gloss = painted[:, :3] ** GAMMA, painted[:, 3:]
    view = normalize(eye - surface.points, dim=-1)
    # Blood lets red light through: shadows on skin are warmer than on plaster.
    arriving = surface.light ** surface.light.new_tensor([0.82, 1.02, 1.08])
    irradiance = sh_irradiance(normals, light.coefficients).clamp_min(0.01) * arriving
    half = normalize(view + light.key_direction, dim=-1)
    toward_half = (normals * half).sum(-1, keepdim=True).clamp_min(0)
    toward_view = (normals * view).sum(-1, keepdim=True).clamp(0, 1)
    grey = surface.light.mean(-1, keepdim=True)
    is_eye = (gloss > 0.97).float()
    broad = 0.10 * gloss * toward_half**14 + 0.13 * gloss**2 * toward_half**48
    sharp = is_eye * 2.2 * toward_half**420
    rim = 0.22 * (1 - toward_view) ** 4 * gloss * (1 - is_eye)
    highlight = (broad * (1 - is_eye) + sharp) * grey**2 * light.key_color + rim * irradiance
    return _to_srgb(albedo * irradiance + highlight)


def _sample_strands(strands: tuple[Tensor, ...], strand: Tensor, pixel_m: float) -> Tensor:
    """[P, 2] streak and slope at `strand` [P, 2], from the level whose texels are about as large as a pixel."""
    level = round(math.log2(max(pixel_m / _STRAND_TEXEL_M, 1.0)))
    texture = strands[min(level, len(strands) - 1)]
    n = texture.shape[0] - 2
    grid = (((strand % 1.0) * n + 1) / (n + 2) * 2 - 1)[None, None]
    return grid_sample(texture.permute(2, 0, 1)[None], grid, padding_mode="border", align_corners=False)[0, :, 0].T


def shade_hair(values: Tensor, hair: HairSurface, light: Light, eye: Tensor, pixel_m: float) -> tuple[Tensor, Tensor]:
    """sRGB [P, 3] and opacity [P, 1] of points of the hair with the attributes `values` [P, 16].

    `pixel_m` is about how wide a pixel is on the head.
    """
    normals, points, arriving, tangents = (normalize(values[:, :3], dim=-1), values[:, 3:6], values[:, 6:9],
                                           normalize(values[:, 9:12], dim=-1))  # fmt: skip
    strand, cover, shade = values[:, 12:14], values[:, 14:15], values[:, 15:16]
    fine = _sample_strands(hair.strands, strand, pixel_m)
    streak, slope = fine[:, :1], fine[:, 1:]
    view = normalize(eye - points, dim=-1)
    facing = (normals * view).sum(-1, keepdim=True)
    is_back = (facing < 0).float()
    normals = normals * (1 - 2 * is_back)
    side = torch.linalg.cross(tangents, normals)
    normals = normalize(normals + 0.30 * slope * side, dim=-1)
    irradiance = sh_irradiance(normals, light.coefficients).clamp_min(0.01) * arriving
    half = normalize(view + light.key_direction, dim=-1)
    along = (tangents * half).sum(-1, keepdim=True)
    across = (1 - along**2).clamp_min(0)
    lit = (normals * light.key_direction).sum(-1, keepdim=True).clamp(0, 1) * arriving.mean(-1, keepdim=True)
    sheen = (1 - is_back) * lit * (0.10 * across**24 * streak + 0.05 * across**90 * streak**2)
    albedo = hair.color * (0.45 + 1.1 * streak) * shade * (1 - 0.78 * is_back)
    color = albedo * irradiance + sheen * light.key_color * (0.35 + 0.65 * hair.color / hair.color.max())
    opacity = ((cover - 0.75 * (1 - streak)) / 0.35).clamp(0, 1)
    return _to_srgb(color), opacity
