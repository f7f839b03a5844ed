"""Light for synthetic heads: a soft environment with a key light, and how much of it reaches each vertex."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headforge.geometry.cameras import look_at, pinhole_matrix
from headforge.render.mesh import rasterize
from headforge.render.spherical_harmonics import sh_basis
from headforge.synth.shots.samplers import item_rng
from headforge.types import Camera

N_DIRECTIONS = 40
_SHADOW_PIXELS = 112
_SHADOW_DISTANCE_M = 3.0
_SHADOW_RADIUS_M = 0.235
"""Half the width that the shadow maps cover."""
_SHADOW_BIAS_M = 0.002
_NORMAL_OFFSET_M = 0.0035
"""Offset of points along their normals before the depth lookup, so that a surface doesn't shadow itself."""


@dataclass(frozen=True)
class Light:
    """The light on one subject, fixed in the world."""

    radiance: Tensor
    """[K, 3] from the directions of `sphere_directions`."""
    coefficients: Tensor
    """[9, 3] its spherical harmonics, for `sh_irradiance`."""
    key_direction: Tensor
    """[3] unit vector towards the key light."""
    key_color: Tensor
    """[3]."""


@functools.cache
def sphere_directions(n: int) -> Tensor:
    """Return [n, 3] unit vectors spread evenly over the sphere (Fibonacci lattice)."""
    k = torch.arange(n, dtype=torch.float64) + 0.5
    y = 1 - 2 * k / n
    angle = k * math.pi * (3 - math.sqrt(5))
    radius = (1 - y * y).sqrt()
    return torch.stack([radius * angle.cos(), y, radius * angle.sin()], -1).float()


def _environment(directions: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return radiance [n, 3] towards `directions`, the key's direction [3] and colour [3]."""
    warmth = rng.normal(0, 0.06)
    tint = torch.tensor([1 + warmth, 1.0, 1 - warmth], dtype=torch.float32)
    yaw = math.radians(rng.choice([-1.0, 1.0]) * rng.uniform(8, 62))
    pitch = math.radians(rng.uniform(18, 52))
    key = torch.tensor([math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)]).float()
    fill = torch.tensor([-math.sin(yaw), 0.15, 0.8])
    fill = fill / fill.norm()
    rim = torch.tensor([-math.sin(yaw) * 0.9, 0.35, -0.75])
    rim = rim / rim.norm()
    strength = rng.uniform(1.7, 2.9)
    up = directions[:, 1:2]
    sky = 0.42 + 0.22 * up
    cool = torch.tensor([1 - warmth * 0.7, 1.0, 1 + warmth * 0.7], dtype=torch.float32)

    def lobe(axis: Tensor, power: float) -> Tensor:
        return (directions @ axis).clamp_min(0)[:, None] ** power

    radiance = sky * cool + strength * lobe(key, 5) * tint + rng.uniform(0.25, 0.6) * lobe(fill, 2) * cool
    return radiance + rng.uniform(0.2, 0.9) * lobe(rim, 6) * cool, key, tint * strength


def sample_light(seed: int, subject: int) -> Light:
    """Return the subject's light, with about the same brightness for all subjects."""
    dense = sphere_directions(512)
    radiance, key, key_color = _environment(dense, item_rng(seed, "light", subject))
    front = (dense[:, 2:].clamp_min(0) * radiance).mean() * 4
    coarse, _, _ = _environment(sphere_directions(N_DIRECTIONS), item_rng(seed, "light", subject))
    scale = 0.88 / front
    coefficients = sh_basis(2, dense).T @ radiance * (4 * math.pi / len(dense))
    return Light(coarse * scale, coefficients * scale, key, key_color * scale)


def light_reaching(light: Light, vertices: Tensor, normals: Tensor, occluders: Tensor, faces: Tensor) -> Tensor:
    """Return the share [V, 3] of the light on each vertex that the mesh (`occluders` [O, 3], `faces`) doesn't block.

    `vertices` and `normals` [V, 3] in metres; 1 = nothing in the way. Depth maps from `N_DIRECTIONS` directions.
    """
    directions = sphere_directions(N_DIRECTIONS)
    focal = _SHADOW_PIXELS / 2 * _SHADOW_DISTANCE_M / _SHADOW_RADIUS_M
    up = torch.tensor([0.02, 0.9, 0.1])
    viewmats = look_at(directions * _SHADOW_DISTANCE_M, torch.zeros_like(directions), up)
    K = pinhole_matrix(focal, _SHADOW_PIXELS, _SHADOW_PIXELS)
    lifted = vertices + _NORMAL_OFFSET_M * normals
    got, wanted = torch.zeros_like(vertices), torch.zeros_like(vertices)
    for direction, viewmat, radiance in zip(directions, viewmats, light.radiance, strict=True):
        cosine = (normals @ direction).clamp_min(0)[:, None]
        camera = Camera(K[None], viewmat[None], _SHADOW_PIXELS, _SHADOW_PIXELS)
        depth = rasterize(occluders[None], faces, camera).depth[0]
        local = lifted @ viewmat[:3, :3].T + viewmat[:3, 3]
        pixel = local[:, :2] / local[:, 2:] * focal + _SHADOW_PIXELS / 2
        visible = _soft_shadow(depth, pixel, local[:, 2])
        wanted += cosine * radiance
        got += (cosine * visible[:, None]) * radiance
    return ((got + 0.02) / (wanted + 0.02)).clamp(0, 1)


def _soft_shadow(depth: Tensor, pixel: Tensor, z: Tensor) -> Tensor:
    """Return the share [V] of the 2x2 nearest texels of a depth map [S, S] behind the points, bilinearly weighted."""
    depth = torch.where(depth > 0, depth, torch.full_like(depth, 1e3))
    size = depth.shape[0]
    x, y = (pixel - 0.5).unbind(-1)
    x0, y0 = x.floor().clamp(0, size - 2), y.floor().clamp(0, size - 2)
    a, b = (x - x0).clamp(0, 1), (y - y0).clamp(0, 1)
    flat, i = depth.flatten(), (y0 * size + x0).long()
    corners = torch.stack([flat[i], flat[i + 1], flat[i + size], flat[i + size + 1]])
    lit = (corners > z - _SHADOW_BIAS_M).float()
    weights = torch.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b])
    return (lit * weights).sum(0)
