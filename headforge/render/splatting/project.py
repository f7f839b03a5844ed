"""Projection of Gaussians to image ellipses: the first kernel of the `cpu` splatting backend.

Gaussians are processed in parts of fixed size, so that results do not depend on the distribution of parts over threads.
16 Gaussians are the lanes of one vector. Arrays are float32, contiguous and flat where lanes read them.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from headforge.render.jit import kernel
from headforge.render.projection import ALPHA_MIN, EXTENT_SIGMAS, FAR_PLANE_M, FRUSTUM_MARGIN
from headforge.render.splatting.lanes import (
    broadcast16,
    ceiling,
    element,
    floor,
    fma,
    load4,
    load16,
    load16_of_3,
    load16_of_4,
    log2_roughly,
    maximum,
    minimum,
    select,
    square_root,
    store4,
    store16,
    store_pairs,
    store_quarters,
    store_sort_keys,
    transposed4,
)

PART = 1024
"""Gaussians per part."""
GEOMETRY = 8
"""Floats of a record before the colours: centre x, y, exponent's coefficients xx, xy, yy (base 2), opacity, two
unused."""
MAX_SIZE_PX = 32767
HIDDEN = np.uint32(0xFFFFFFFF)
"""Sort key of Gaussians outside the image."""
BOX_MARGIN_PX = np.float32(4e-3)
"""Widening of boxes, more than the error of an edge by rounding and `log2_roughly`; extra pixels are tested exactly
later."""

Array: TypeAlias = Any
Lanes: TypeAlias = Any
"""Types inside kernels are inferred by numba."""

_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_LOG2E, _TWO_LN2 = np.float32(math.log2(math.e)), np.float32(2 * math.log(2))
_MIN, _LOG2_MIN = np.float32(ALPHA_MIN), np.float32(math.log2(ALPHA_MIN))
_EXTENT, _FAR, _MARGIN = np.float32(EXTENT_SIGMAS), np.float32(FAR_PLANE_M), np.float32(FRUSTUM_MARGIN)
_TINY, _MINUS_HALF_LOG2E = np.float32(1e-12), np.float32(-0.5 * math.log2(math.e))


@kernel(inline="always")
def tile_range(boxes: Array, i: int) -> tuple[int, int, int, int]:
    """Return the first and last tile column and row that a Gaussian's box touches."""
    x, y = element(boxes, 2 * i), element(boxes, 2 * i + 1)
    return (x & 0xFFFF) >> 4, x >> 20, (y & 0xFFFF) >> 4, y >> 20


@kernel(inline="always")
def slope_limits(K: Array, width: int, height: int) -> tuple[float, float, float, float]:
    """Return the limits (least, greatest) of the Jacobian's slopes x / z, then y / z."""
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    w, h = np.float32(width), np.float32(height)
    mx, my = _MARGIN * w / fx * _HALF, _MARGIN * h / fy * _HALF
    return -cx / fx - mx, (w - cx) / fx + mx, -cy / fy - my, (h - cy) / fy + my


@kernel(inline="always")
def dot(a0: Lanes, a1: Lanes, a2: Lanes, b0: Lanes, b1: Lanes, b2: Lanes) -> Lanes:
    """Return the scalar products of 3-vectors."""
    return fma(a0, b0, fma(a1, b1, a2 * b2))


@kernel(inline="always")
def camera_lanes(view: Array) -> tuple[Lanes, ...]:
    """Return the first three rows of the view matrix, each element broadcast to all lanes."""
    return (
        broadcast16(view[0, 0]), broadcast16(view[0, 1]), broadcast16(view[0, 2]), broadcast16(view[0, 3]),
        broadcast16(view[1, 0]), broadcast16(view[1, 1]), broadcast16(view[1, 2]), broadcast16(view[1, 3]),
        broadcast16(view[2, 0]), broadcast16(view[2, 1]), broadcast16(view[2, 2]), broadcast16(view[2, 3]),
    )  # fmt: skip


@kernel(inline="always")
def _rays(means: Array, i: int, view: Array, near: float) -> tuple[Lanes, ...]:
    """Return the camera depth, whether it is in range, 1 / depth (1 out of range), and the ray's slopes."""
    one = broadcast16(_ONE)
    px, py, pz = load16_of_3(means, i * 3, 0), load16_of_3(means, i * 3, 1), load16_of_3(means, i * 3, 2)
    v00, v01, v02, v03, v10, v11, v12, v13, v20, v21, v22, v23 = camera_lanes(view)
    depth = dot(v20, v21, v22, px, py, pz) + v23
    in_range = (depth >= broadcast16(near)) & (depth <= broadcast16(_FAR))
    inv_z = one / select(in_range, depth, one)
    ray_x = (dot(v00, v01, v02, px, py, pz) + v03) * inv_z
    ray_y = (dot(v10, v11, v12, px, py, pz) + v13) * inv_z
    return depth, in_range, inv_z, ray_x, ray_y


@kernel(inline="always")
def _jacobian(
    view: Array, K: Array, width: int, height: int, inv_z: Lanes, ray_x: Lanes, ray_y: Lanes
) -> tuple[Lanes, ...]:
    """Return the two rows (focal / depth) (row of the view - slope x its last row), and the clamped slopes."""
    low_x, high_x, low_y, high_y = slope_limits(K, width, height)
    v00, v01, v02, _, v10, v11, v12, _, v20, v21, v22, _ = camera_lanes(view)
    zero = broadcast16(_ZERO)
    slope_x = zero - minimum(maximum(ray_x, broadcast16(low_x)), broadcast16(high_x))
    slope_y = zero - minimum(maximum(ray_y, broadcast16(low_y)), broadcast16(high_y))
    gx, gy = broadcast16(K[0, 0]) * inv_z, broadcast16(K[1, 1]) * inv_z
    return (
        gx * fma(slope_x, v20, v00), gx * fma(slope_x, v21, v01), gx * fma(slope_x, v22, v02),
        gy * fma(slope_y, v20, v10), gy * fma(slope_y, v21, v11), gy * fma(slope_y, v22, v12), slope_x, slope_y,
    )  # fmt: skip


@kernel(inline="always")
def _unit_quaternions(quats: Array, i: int) -> tuple[Lanes, ...]:
    w, x = load16_of_4(quats, i * 4, 0), load16_of_4(quats, i * 4, 1)
    y, z = load16_of_4(quats, i * 4, 2), load16_of_4(quats, i * 4, 3)
    norm = maximum(square_root(fma(w, w, fma(x, x, fma(y, y, z * z)))), broadcast16(_TINY))
    inv_norm = broadcast16(_ONE) / norm
    return w * inv_norm, x * inv_norm, y * inv_norm, z * inv_norm, inv_norm


@kernel(inline="always")
def _rotation(w: Lanes, x: Lanes, y: Lanes, z: Lanes) -> tuple[Lanes, ...]:
    one, two = broadcast16(_ONE), broadcast16(_TWO)
    return (
        one - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y),
        two * (x * y + w * z), one - two * (x * x + z * z), two * (y * z - w * x),
        two * (x * z - w * y), two * (y * z + w * x), one - two * (x * x + y * y),
    )  # fmt: skip


@kernel(inline="always")
def screen_axes(
    means: Array, quats: Array, scales: Array, i: int, view: Array, K: Array, width: int, height: int, near: float
) -> tuple[tuple[Lanes, ...], ...]:
    """Return the common values of the forward and backward pass.

    They are `_rays`, `_jacobian`, `_unit_quaternions`, `_rotation`, the scales, the two screen rows of the unit axes
    (x 0-2, y 0-2), these times the scales, and the variances xx, xy, yy without `eps2d`.
    """
    rays = _rays(means, i, view, near)
    jacobian = _jacobian(view, K, width, height, rays[2], rays[3], rays[4])
    jx0, jx1, jx2, jy0, jy1, jy2, _, _ = jacobian
    quaternion = _unit_quaternions(quats, i)
    rotation = _rotation(quaternion[0], quaternion[1], quaternion[2], quaternion[3])
    r00, r01, r02, r10, r11, r12, r20, r21, r22 = rotation
    s0, s1, s2 = load16_of_3(scales, i * 3, 0), load16_of_3(scales, i * 3, 1), load16_of_3(scales, i * 3, 2)
    ux0, uy0 = dot(jx0, jx1, jx2, r00, r10, r20), dot(jy0, jy1, jy2, r00, r10, r20)
    ux1, uy1 = dot(jx0, jx1, jx2, r01, r11, r21), dot(jy0, jy1, jy2, r01, r11, r21)
    ux2, uy2 = dot(jx0, jx1, jx2, r02, r12, r22), dot(jy0, jy1, jy2, r02, r12, r22)
    mx0, mx1, mx2, my0, my1, my2 = ux0 * s0, ux1 * s1, ux2 * s2, uy0 * s0, uy1 * s1, uy2 * s2
    variances = (dot(mx0, mx1, mx2, mx0, mx1, mx2), dot(mx0, mx1, mx2, my0, my1, my2),
                 dot(my0, my1, my2, my0, my1, my2))  # fmt: skip
    unit, scaled = (ux0, ux1, ux2, uy0, uy1, uy2), (mx0, mx1, mx2, my0, my1, my2)
    return rays, jacobian, quaternion, rotation, (s0, s1, s2), unit, scaled, variances


@kernel(inline="always")
def blurred(variances: tuple[Lanes, ...], in_range: Lanes, eps2d: float) -> tuple[Lanes, ...]:
    """Return the blurred variances, the determinant without `eps2d`, the validity, and the inverse determinant.

    The variances are xx and yy with `eps2d`. A Gaussian is valid if it is in range and the determinant with `eps2d` is
    positive; the inverse is that of this determinant, 1 if invalid.
    """
    xx, xy, yy = variances
    sharp = xx * yy - xy * xy
    xx, yy = xx + broadcast16(eps2d), yy + broadcast16(eps2d)
    det = xx * yy - xy * xy
    valid = in_range & (det > broadcast16(_ZERO))
    return xx, yy, sharp, valid, broadcast16(_ONE) / select(valid, det, broadcast16(_ONE))


@kernel(inline="always")
def empty_tail() -> tuple[Array, Array, Array, Array]:
    """Return arrays for means, quaternions, scales and opacities of 16 Gaussians; opacity 0 hides unset ones."""
    return np.zeros(48, np.float32), np.ones(64, np.float32), np.zeros(48, np.float32), np.zeros(16, np.float32)


@kernel(inline="always")
def fill_tail(
    tail: tuple[Array, Array, Array, Array], means: Array, quats: Array, scales: Array, opacities: Array, i: int
) -> None:
    """Copy the last Gaussians, from i on and fewer than 16, to the tail."""
    count = len(opacities) - i
    tail[0][: count * 3], tail[1][: count * 4] = means[i * 3 :], quats[i * 4 :]
    tail[2][: count * 3], tail[3][:count] = scales[i * 3 :], opacities[i:]


@kernel()
def project(
    first_part: int,
    last_part: int,
    n: int,
    means: Array,
    quats: Array,
    scales: Array,
    opacities: Array,
    colors: Array,
    n_colors: int,
    view: Array,
    K: Array,
    width: int,
    height: int,
    eps2d: float,
    near: float,
    antialiased: bool,
    with_depth: bool,
    stride: int,
    records: Array,
    boxes: Array,
    keys: Array,
) -> None:
    """Fill records [N x stride], boxes [N x 2] (int32) and the depth sort keys [N] (uint32), N rounded up to 16.

    The Gaussians' arrays are flat. A box is two pairs of 16-bit integers: first and last column, first and last row.
    """
    depths = np.empty(16, np.float32)
    tail = empty_tail()
    for i in range(first_part * PART, min(last_part * PART, n), 16):
        if i + 16 <= n:
            _project_16(means, quats, scales, opacities, i, i, view, K, width, height, eps2d, near, antialiased, stride,
                        records, boxes, keys, depths)  # fmt: skip
        else:
            fill_tail(tail, means, quats, scales, opacities, i)
            _project_16(tail[0], tail[1], tail[2], tail[3], 0, i, view, K, width, height, eps2d, near, antialiased,
                        stride, records, boxes, keys, depths)  # fmt: skip
        _copy_colors(i, min(16, n - i), colors, n_colors, depths, with_depth, stride, records)


@kernel(inline="always")
def _copy_colors(
    i: int, count: int, colors: Array, n_colors: int, depths: Array, with_depth: bool, stride: int, records: Array
) -> None:
    for p in range(count):
        at = (i + p) * stride + GEOMETRY
        whole = n_colors & ~3
        for c in range(0, whole, 4):
            store4(records, at + c, load4(colors, (i + p) * n_colors + c))
        for c in range(whole, n_colors):
            records[at + c] = element(colors, (i + p) * n_colors + c)
        if with_depth:
            records[at + n_colors] = depths[p]
        for c in range(n_colors + with_depth, stride - GEOMETRY):
            records[at + c] = _ZERO


@kernel()
def _project_16(
    means: Array,
    quats: Array,
    scales: Array,
    opacities: Array,
    i: int,
    to: int,
    view: Array,
    K: Array,
    width: int,
    height: int,
    eps2d: float,
    near: float,
    antialiased: bool,
    stride: int,
    records: Array,
    boxes: Array,
    keys: Array,
    depths: Array,
) -> None:
    """Project Gaussians i..i + 15 to the records, boxes, keys and depths from `to` on."""
    zero, one, half = broadcast16(_ZERO), broadcast16(_ONE), broadcast16(_HALF)
    rays, _, _, _, _, _, _, variances = screen_axes(means, quats, scales, i, view, K, width, height, near)
    depth, in_range, _, ray_x, ray_y = rays
    center_x = fma(broadcast16(K[0, 0]), ray_x, broadcast16(K[0, 2]))
    center_y = fma(broadcast16(K[1, 1]), ray_y, broadcast16(K[1, 2]))
    xy = variances[1]
    xx, yy, sharp, valid, inverse = blurred(variances, in_range, eps2d)
    opacity = load16(opacities, i)
    if antialiased:
        opacity = opacity * square_root(maximum(sharp * inverse, zero))
    valid = valid & (opacity >= broadcast16(_MIN))
    log_ratio = log2_roughly(select(valid, opacity, one)) - broadcast16(_LOG2_MIN)
    reach = minimum(broadcast16(_EXTENT), square_root(maximum(broadcast16(_TWO_LN2) * log_ratio, zero)))
    margin = broadcast16(BOX_MARGIN_PX)
    extent_x, extent_y = fma(reach, square_root(xx), margin), fma(reach, square_root(yy), margin)
    middle_x, middle_y = center_x - half, center_y - half
    last_x, last_y = broadcast16(np.float32(width - 1)), broadcast16(np.float32(height - 1))
    # Clamped to 16 bits, also for distant or NaN centres.
    most, least = broadcast16(np.float32(MAX_SIZE_PX)), broadcast16(-_ONE)
    x0 = minimum(maximum(ceiling(middle_x - extent_x), zero), most)
    y0 = minimum(maximum(ceiling(middle_y - extent_y), zero), most)
    x1 = maximum(minimum(floor(middle_x + extent_x), last_x), least)
    y1 = maximum(minimum(floor(middle_y + extent_y), last_y), least)
    store_pairs(boxes, to * 2, x0, x1, y0, y1)
    store_sort_keys(keys, to, depth, valid & (x0 <= x1) & (y0 <= y1))
    store16(depths, 0, depth)
    factor = broadcast16(_MINUS_HALF_LOG2E) * inverse
    low = transposed4(middle_x + half, middle_y + half, factor * yy, broadcast16(_LOG2E) * inverse * xy)
    high = transposed4(factor * xx, opacity, zero, zero)
    at, step = to * stride, 4 * stride
    store_quarters(records, at, step, low[0])
    store_quarters(records, at + stride, step, low[1])
    store_quarters(records, at + 2 * stride, step, low[2])
    store_quarters(records, at + 3 * stride, step, low[3])
    store_quarters(records, at + 4, step, high[0])
    store_quarters(records, at + stride + 4, step, high[1])
    store_quarters(records, at + 2 * stride + 4, step, high[2])
    store_quarters(records, at + 3 * stride + 4, step, high[3])
