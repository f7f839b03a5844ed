"""The basic appearance's shading as kernels, equal to torch operation by operation in float32.

`shade.py` computes powers between them with torch, because numba's differ. The bytes of pictures depend on the order of
the operations here; the readable twins are in tests/synth/twins.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from headforge.render.jit import kernel
from headforge.render.shading import IRRADIANCE_FACTORS

ZERO, ONE, TWO, THREE = np.float32(0), np.float32(1), np.float32(2), np.float32(3)
TINY = np.float32(1e-12)
LEAST_LIGHT = np.float32(0.01)
_K0 = np.float32(0.5 * math.sqrt(1 / math.pi))
_K1 = np.float32(math.sqrt(3 / (4 * math.pi)))
_K2 = np.float32(0.5 * math.sqrt(15 / math.pi))
_K20 = np.float32(math.sqrt(5 / math.pi) / 4)
_K22 = np.float32(0.5 * math.sqrt(15 / math.pi) / 2)
_FACTORS = tuple(np.float32(factor) for factor in IRRADIANCE_FACTORS)
_F0, _F1, _F2 = _FACTORS[0], _FACTORS[1], _FACTORS[4]

_SOFT, _BRIGHT = np.float32(0.10), np.float32(1.10)
_EYE_GLOSS, _BROAD, _NARROW, _SHARP, _RIM = (np.float32(v) for v in (0.97, 0.10, 0.13, 2.2, 0.22))
_LEAN, _DARK, _STREAK, _BACK = (np.float32(v) for v in (0.30, 0.45, 1.1, 0.78))
_WIDE, _FINE, _RAGGED, _EDGE = (np.float32(v) for v in (0.10, 0.05, 0.75, 0.35))


def _multiply_add(_: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once: what torch's norms and cross products are compiled to."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


_fma: Any = intrinsic(_multiply_add)


@kernel(error_model="numpy", forceinline=True)
def length(x, y, z):
    """Return the Euclidean norm, at least 1e-12."""
    return max(np.sqrt(_fma(z, z, _fma(y, y, x * x))), TINY)


@kernel(error_model="numpy", forceinline=True)
def _dot(ax, ay, az, bx, by, bz):
    return ax * bx + ay * by + az * bz


@kernel(error_model="numpy", forceinline=True)
def cross_term(a, b, c, d):
    """Return a * b - c * d as torch's cross product rounds it."""
    return _fma(a, b, -(c * d))


@kernel(error_model="numpy", forceinline=True)
def _irradiance(sh, c, x, y, z):
    """Return channel `c` of `sh_irradiance` for one unit normal; `sh` [9, 3]."""
    xx, yy, zz = x * x, y * y, z * z
    total = _K0 * _F0 * sh[0, c]
    total += -_K1 * y * _F1 * sh[1, c]
    total += _K1 * z * _F1 * sh[2, c]
    total += -_K1 * x * _F1 * sh[3, c]
    total += _K2 * x * y * _F2 * sh[4, c]
    total += -_K2 * y * z * _F2 * sh[5, c]
    total += _K20 * (TWO * zz - xx - yy) * _F2 * sh[6, c]
    total += -_K2 * x * z * _F2 * sh[7, c]
    total += _K22 * (xx - yy) * _F2 * sh[8, c]
    return max(total, LEAST_LIGHT)


@kernel(error_model="numpy")
def light_skin(values, sh, key_direction, eye, out):
    """Write the light on skin points into `out` [6, P]: irradiance 3, cosines to half vector, 1 - cosine to viewer,
    grey.
    """
    kx, ky, kz = key_direction[0], key_direction[1], key_direction[2]
    ex, ey, ez = eye[0], eye[1], eye[2]
    for p in range(values.shape[1]):
        nx, ny, nz = values[0, p], values[1, p], values[2, p]
        size = length(nx, ny, nz)
        nx, ny, nz = nx / size, ny / size, nz / size
        vx, vy, vz = ex - values[3, p], ey - values[4, p], ez - values[5, p]
        size = length(vx, vy, vz)
        vx, vy, vz = vx / size, vy / size, vz / size
        hx, hy, hz = vx + kx, vy + ky, vz + kz
        size = length(hx, hy, hz)
        hx, hy, hz = hx / size, hy / size, hz / size
        out[0, p] = _irradiance(sh, 0, nx, ny, nz)
        out[1, p] = _irradiance(sh, 1, nx, ny, nz)
        out[2, p] = _irradiance(sh, 2, nx, ny, nz)
        out[3, p] = max(_dot(nx, ny, nz, hx, hy, hz), ZERO)
        out[4, p] = ONE - min(max(_dot(nx, ny, nz, vx, vy, vz), ZERO), ONE)
        out[5, p] = (values[6, p] + values[7, p] + values[8, p]) / THREE


@kernel(error_model="numpy")
def dim(light, powers, out):
    """Multiply `out` [3 of 6, P] by the share of light [3, P] that arrives, made warmer in the shade by powers [3]."""
    for c in range(3):
        power = powers[c]
        for p in range(light.shape[1]):
            out[c, p] *= light[c, p] ** power


@kernel(error_model="numpy", forceinline=True)
def _compress(linear):
    """Compress a highlight softly, before it is encoded."""
    return min(max(linear / (ONE + _SOFT * linear) * _BRIGHT, ZERO), ONE)


@kernel(error_model="numpy")
def mix_skin(light, painted, albedo, broad, narrow, sharp, graze, key_color, out):
    """Write the linear colour [P, 3] of points of the skin, before it is encoded.

    `light` [6, P] from `light_skin`; painted [4, P] with the gloss; albedo [3, P]; the cosine to the half vector to the
    powers 14, 48 and 420, and 1 - the cosine to the viewer to the power 4, [P] each.
    """
    for p in range(len(broad)):
        gloss, grey = painted[3, p], light[5, p]
        is_eye = ONE if gloss > _EYE_GLOSS else ZERO
        wide = _BROAD * gloss * broad[p] + _NARROW * (gloss * gloss) * narrow[p]
        lamp = is_eye * _SHARP * sharp[p]
        rim = _RIM * graze[p] * gloss * (ONE - is_eye)
        shine = (wide * (ONE - is_eye) + lamp) * (grey * grey)
        for c in range(3):
            highlight = shine * key_color[c] + rim * light[c, p]
            out[p, c] = _compress(albedo[c, p] * light[c, p] + highlight)


@kernel(error_model="numpy")
def light_hair(values, fine, color, sh, key_direction, eye, out):
    """Write the light on points of hair into `out` [6, P].

    values [P, 16] as `HairSurface.attributes`; fine [2, P] streak and slope; color [3] linear. The rows of `out` are
    the matte colour 3, the strength of the sheen, the squared sine between strand and half vector, and the opacity.
    """
    kx, ky, kz = key_direction[0], key_direction[1], key_direction[2]
    ex, ey, ez = eye[0], eye[1], eye[2]
    for p in range(len(values)):
        streak, slope = fine[0, p], fine[1, p]
        nx, ny, nz = values[p, 0], values[p, 1], values[p, 2]
        size = length(nx, ny, nz)
        nx, ny, nz = nx / size, ny / size, nz / size
        tx, ty, tz = values[p, 9], values[p, 10], values[p, 11]
        size = length(tx, ty, tz)
        tx, ty, tz = tx / size, ty / size, tz / size
        vx, vy, vz = ex - values[p, 3], ey - values[p, 4], ez - values[p, 5]
        size = length(vx, vy, vz)
        vx, vy, vz = vx / size, vy / size, vz / size
        is_back = ONE if _dot(nx, ny, nz, vx, vy, vz) < ZERO else ZERO
        flip = ONE - TWO * is_back
        nx, ny, nz = nx * flip, ny * flip, nz * flip
        lean = _LEAN * slope
        sx, sy, sz = (
            lean * cross_term(ty, nz, tz, ny),
            lean * cross_term(tz, nx, tx, nz),
            lean * cross_term(tx, ny, ty, nx),
        )
        nx, ny, nz = nx + sx, ny + sy, nz + sz
        size = length(nx, ny, nz)
        nx, ny, nz = nx / size, ny / size, nz / size
        hx, hy, hz = vx + kx, vy + ky, vz + kz
        size = length(hx, hy, hz)
        along = _dot(tx, ty, tz, hx / size, hy / size, hz / size)
        arriving = (values[p, 6] + values[p, 7] + values[p, 8]) / THREE
        lit = min(max(_dot(nx, ny, nz, kx, ky, kz), ZERO), ONE) * arriving
        for c in range(3):
            light = _irradiance(sh, c, nx, ny, nz) * values[p, 6 + c]
            own = color[c] * (_DARK + _STREAK * streak) * values[p, 15] * (ONE - _BACK * is_back)
            out[c, p] = own * light
        out[3, p] = (ONE - is_back) * lit
        out[4, p] = max(ONE - along * along, ZERO)
        out[5, p] = min(max((values[p, 14] - _RAGGED * (ONE - streak)) / _EDGE, ZERO), ONE)


@kernel(error_model="numpy")
def mix_hair(light, fine, wide, narrow, key_color, tint, out):
    """Write the linear colour [P, 3] of points of hair, before it is encoded.

    `light` [6, P] from `light_hair`; `fine` [2, P]; its squared sine to the powers 24 and 90 [P]; tint [3] of the
    sheen.
    """
    for p in range(len(wide)):
        streak = fine[0, p]
        sheen = light[3, p] * (_WIDE * wide[p] * streak + _FINE * narrow[p] * (streak * streak))
        for c in range(3):
            out[p, c] = _compress(light[c, p] + sheen * key_color[c] * tint[c])
