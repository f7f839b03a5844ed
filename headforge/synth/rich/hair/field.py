"""The mean head's distance field on a grid, so that thousands of hairs can be kept outside it quickly. Millimetres."""

from __future__ import annotations

import functools

import numpy as np

from headforge.flame.builtin.field import head_distance

SPACING_MM = 6.0
LOW_MM = np.array([-144.0, -210.0, -150.0])
_COUNTS = (49, 64, 52)
_EAR_CENTRE, _EAR_RADII = np.array([78.0, -2.0, -15.0]), np.array([8.0, 34.0, 21.0])
_VEIL_CENTRE, _VEIL_RADII = np.array([38.0, -2.0, -12.0]), np.array([45.0, 74.0, 60.0])
"""A bulge over ear and cheek that long hair falls over without a crease."""
_GUARD_CENTRE, _GUARD_RADII = np.array([0.0, -12.0, 88.0]), np.array([55.0, 84.0, 46.0])
"""An ellipsoid in front of the face that long hair slides off to the sides."""


@functools.cache
def head_grid(*, guards_face: bool) -> np.ndarray:
    """Return [49, 64, 52, 4]: distance to the head with ears, and unit gradient, at `LOW_MM + SPACING_MM * index`."""
    axes = [low + SPACING_MM * np.arange(n) for low, n in zip(LOW_MM, _COUNTS, strict=True)]
    p = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    mirrored = np.concatenate([np.abs(p[..., :1]), p[..., 1:]], -1)
    over_ear = (_VEIL_CENTRE, _VEIL_RADII) if guards_face else (_EAR_CENTRE, _EAR_RADII)
    d = np.minimum(_head_distances(), _ellipsoid(mirrored, *over_ear))
    if guards_face:
        d = np.minimum(d, _ellipsoid(p, _GUARD_CENTRE, _GUARD_RADII))
    gradient = np.stack([np.gradient(d, SPACING_MM, axis=axis) for axis in range(3)], -1)
    gradient /= np.maximum(np.linalg.norm(gradient, axis=-1, keepdims=True), 1e-6)
    return np.ascontiguousarray(np.concatenate([d[..., None], gradient], -1), dtype=np.float32)


@functools.cache
def _head_distances() -> np.ndarray:
    """Return the distances, one half and its mirror image: head and grid are symmetric."""
    axes = [low + SPACING_MM * np.arange(n) for low, n in zip(LOW_MM, _COUNTS, strict=True)]
    half = head_distance(np.stack(np.meshgrid(axes[0][: _COUNTS[0] // 2 + 1], *axes[1:], indexing="ij"), -1))
    return np.concatenate([half, half[-2::-1]])


def _ellipsoid(p: np.ndarray, centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    scaled = np.linalg.norm((p - centre) / radii, axis=-1)
    return (scaled - 1) * radii.min()
