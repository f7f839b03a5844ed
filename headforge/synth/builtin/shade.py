"""Colours of skin and hair under a `Light`. Light is added in linear colour and returned as sRGB."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from headforge.synth.builtin.hair import HairShell
from headforge.synth.builtin.shade_kernels import dim, light_hair, light_skin, mix_hair, mix_skin
from headforge.synth.people.lighting import Light
from headforge.synth.shots.samplers import item_rng

GAMMA = 2.2
STRAND_PIXELS = 256
N_STRAND_LEVELS = 5
_STRAND_TEXEL_M = 0.00018
"""Approximate width of a texel of the finest level on the head."""


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
    """The result of `strand_texture`."""
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
    """Return the unit direction [n, 3] in which the second strand coordinate grows."""
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
    """Return periodic streaks, locks and single hairs, with the slope of their brightness across.

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


def _encode(linear: np.ndarray) -> np.ndarray:
    """Encode linear colour [P, 3] as sRGB, in place."""
    color = torch.from_numpy(linear)
    torch.pow(color, 1 / GAMMA, out=color)
    return linear


def shade_skin(values: np.ndarray, grid: np.ndarray, texture: Tensor, light: Light, eye: Tensor) -> np.ndarray:
    """Return sRGB [P, 3] of points of the head seen from `eye` [3].

    values [9, P] normal, place and share of the light that arrives; grid [P, 2] places in `texture` [R, R, 4]; all
    float32.
    """
    lit = np.empty((6, values.shape[1]), np.float32)
    light_skin(values, light.coefficients.numpy(), light.key_direction.numpy(), eye.numpy(), lit)
    dim(values[6:], _WARMTH, lit)
    samples = _sample(texture, grid)
    toward_half, away = torch.from_numpy(lit[3]), torch.from_numpy(lit[4])
    linear = np.empty((values.shape[1], 3), np.float32)
    mix_skin(lit, samples.numpy(), (samples[:3] ** GAMMA).numpy(), *((toward_half**n).numpy() for n in (14, 48, 420)),
             (away**4).numpy(), light.key_color.numpy(), linear)  # fmt: skip
    return _encode(linear)


_WARMTH = np.array([0.82, 1.02, 1.08], np.float32)
"""Blood lets red light through: shadows on skin are warmer than on plaster."""


def strand_level(strands: tuple[Tensor, ...], pixel_m: float) -> Tensor:
    """Return the level of a `strand_texture` whose texels are about as large as a pixel on the head."""
    level = round(math.log2(max(pixel_m / _STRAND_TEXEL_M, 1.0)))
    return strands[min(level, len(strands) - 1)]


def _sample(texture: Tensor, grid: np.ndarray) -> Tensor:
    """Return [C, P] bilinear samples of `texture` [H, W, C] at [P, 2], -1 and 1 being its edges."""
    places = torch.from_numpy(grid)[None, None]
    return grid_sample(texture.permute(2, 0, 1)[None], places, padding_mode="border", align_corners=False)[0, :, 0]


def shade_hair(
    values: np.ndarray, grid: np.ndarray, strands: Tensor, color: Tensor, light: Light, eye: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Return sRGB [P, 3] and opacity [P] of points of the hair of linear `color` [3], seen from `eye` [3].

    values [P, 16] as `HairSurface.attributes`, grid [P, 2] places in `strands`, a `strand_level`; all float32.
    """
    lit = np.empty((6, len(values)), np.float32)
    fine = _sample(strands, grid).numpy()
    light_hair(values, fine, color.numpy(), light.coefficients.numpy(), light.key_direction.numpy(), eye.numpy(), lit)
    across = torch.from_numpy(lit[4])
    linear = np.empty((len(values), 3), np.float32)
    tint = 0.35 + 0.65 * color / color.max()
    mix_hair(lit, fine, (across**24).numpy(), (across**90).numpy(), light.key_color.numpy(), tint.numpy(), linear)
    return _encode(linear), lit[5]
