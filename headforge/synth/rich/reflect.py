"""Reflection of light: diffuse, subsurface and specular. Linear colour in, sRGB out."""

from __future__ import annotations

import numpy as np
import torch

from headforge.render.jit import kernel
from headforge.render.shading import sh_irradiance
from headforge.synth.people.lighting import Light

KINDS = ("skin", "ear", "eyeball", "mouth_interior", "teeth", "tongue", "frame", "cloth")
SKIN, EAR, EYEBALL, MOUTH, TEETH, TONGUE, FRAME, CLOTH = range(len(KINDS))
GAMMA = 2.2
UNDER_SKIN = (0.75, 0.35, 0.0)
"""Share of the light on skin that follows the smooth normal, by colour."""
FILL = (0.30, 0.0, -0.10)
"""Extra share of each colour that comes back in the shadows of skin."""
MAX_LINEAR = 2.5
CURVE_SIZE = 4096


def tone_curve() -> np.ndarray:
    """Return [CURVE_SIZE] float32: sRGB of linear colour from 0 to `MAX_LINEAR`, highlights softly compressed."""
    linear = np.linspace(0, MAX_LINEAR, CURVE_SIZE)
    return (np.clip(1.10 * linear / (1 + 0.10 * linear), 0, 1) ** (1 / GAMMA)).astype(np.float32)


def irradiance_polynomial(light: Light) -> np.ndarray:
    """Return [3, 9] float64: a light's irradiance as a polynomial 1, x, y, z, xy, yz, xz, zz, xx - yy of the normal."""
    rng = np.random.default_rng(0)
    n = rng.normal(size=(64, 3))
    n /= np.linalg.norm(n, axis=-1, keepdims=True)
    x, y, z = n.T
    terms = np.stack([np.ones_like(x), x, y, z, x * y, y * z, x * z, z * z, x * x - y * y], -1)
    wanted = sh_irradiance(torch.from_numpy(n), light.coefficients.double()).numpy()
    return np.ascontiguousarray(np.linalg.lstsq(terms, wanted, rcond=None)[0].T)


@kernel(error_model="numpy", forceinline=True)
def irradiance(poly, c, x, y, z):
    """Return the light of channel `c` on a surface with the unit normal (x, y, z); at least 0.01."""
    value = (
        poly[c, 0]
        + poly[c, 1] * x
        + poly[c, 2] * y
        + poly[c, 3] * z
        + poly[c, 4] * x * y
        + poly[c, 5] * y * z
        + poly[c, 6] * x * z
        + poly[c, 7] * z * z
        + poly[c, 8] * (x * x - y * y)
    )
    return max(value, 0.01)


@kernel(error_model="numpy", forceinline=True)
def encode(curve, value):
    """Return sRGB of a linear value, from `tone_curve`."""
    at = value * ((CURVE_SIZE - 1) / MAX_LINEAR)
    if at <= 0:
        return curve[0]
    if at >= CURVE_SIZE - 1:
        return curve[CURVE_SIZE - 1]
    i = int(at)
    return curve[i] + (at - i) * (curve[i + 1] - curve[i])


@kernel(error_model="numpy", forceinline=True)
def smooth_step(x, low, high):
    """Return a smooth step from 0 below `low` to 1 above `high`."""
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@kernel(error_model="numpy", forceinline=True)
def reflect(kind, n, smooth, v, color, share, wet, poly, key_direction, key_color, out):
    """Write the linear colour that a point sends to the viewer into `out` [3].

    `n` [3] and `smooth` [3] are the unit normals with and without bumps, `v` [3] points to the viewer; `color` [4]
    linear colour and gloss; `share` [4] of the light (red, green, blue) and of the key light that arrive; `wet` 0 to 1
    on the rim of tears.
    """
    hx, hy, hz = v[0] + key_direction[0], v[1] + key_direction[1], v[2] + key_direction[2]
    size = np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-12
    half = max((n[0] * hx + n[1] * hy + n[2] * hz) / size, 0.0)
    facing = min(max(n[0] * v[0] + n[1] * v[1] + n[2] * v[2], 0.0), 1.0)
    graze = (1 - facing) ** 5
    strength = share[3] * _highlight(kind, half, color[3])
    edge = (0.02 + 0.32 * graze) * color[3]
    if kind == EYEBALL:
        strength = share[3] * _softbox(n, v, key_direction)
        mirrored_up = 2 * (n[0] * v[0] + n[1] * v[1] + n[2] * v[2]) * n[1] - v[1]
        edge = max(0.05 + 0.06 * mirrored_up, 0.0) * (0.4 + 3 * graze)
    for c in range(3):
        light, arriving = irradiance(poly, c, n[0], n[1], n[2]), share[c]
        if kind == SKIN or kind == EAR:
            # Red light travels farthest under the skin: it follows the smooth normal and fills shadows.
            light += UNDER_SKIN[c] * (irradiance(poly, c, smooth[0], smooth[1], smooth[2]) - light)
            arriving *= 1 + FILL[c] * (1 - arriving)
        light *= arriving
        out[c] = color[c] * light + strength * key_color[c] + edge * light + 0.08 * wet


@kernel(error_model="numpy", forceinline=True)
def _highlight(kind, half, gloss):
    """Return the strength of the key light's highlight for the cosine `half` between normal and half vector."""
    p16 = half**16
    p64 = p16 * p16 * p16 * p16
    if kind == FRAME or kind == TEETH or kind == TONGUE:
        return 0.30 * gloss * p64 * p64
    return 0.055 * gloss * p16 + 0.16 * gloss * gloss * p64


@kernel(error_model="numpy", forceinline=True)
def _softbox(n, v, key_direction):
    """Return the mirror image of a round lamp in the wet eye."""
    along = 2 * (n[0] * v[0] + n[1] * v[1] + n[2] * v[2])
    toward = 0.0
    for c in range(3):
        toward += (along * n[c] - v[c]) * key_direction[c]
    return 0.47 * smooth_step(toward, 0.955, 0.985)
