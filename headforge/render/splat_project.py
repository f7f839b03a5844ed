"""Projection of Gaussians to image ellipses, forwards and backwards: kernels of the `cpu` splatting backend.

Gaussians are handled in parts of fixed size, so that no result depends on how parts are spread over threads. Forwards,
16 Gaussians are the lanes of one vector. Arrays are float32, contiguous and flat where lanes read them.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from headforge.render.jit import kernel
from headforge.render.lanes import (
    broadcast8,
    broadcast16,
    ceiling,
    floor,
    fma,
    load8,
    load16,
    load16_of_3,
    load16_of_4,
    log2_roughly,
    maximum,
    minimum,
    prefetch,
    select,
    square_root,
    store8,
    store16,
)
from headforge.render.projection import ALPHA_MIN, EXTENT_SIGMAS, FAR_PLANE_M, FRUSTUM_MARGIN

PART = 1024
"""Gaussians per part."""
GEOMETRY = 8
"""First floats of a record: centre x, y, exponent's coefficients xx, xy, yy (base 2), opacity, and two that hold the
box as pairs of 16-bit integers (first and last column, first and last row). The colours follow."""
MOMENTS = 8
"""First floats of a gradient slot: sums of the exponent's gradient times 1, dx, dy, dx^2, dx dy, dy^2; two unused."""
AHEAD = 16
"""How many slots ahead the cache is asked for."""
MAX_SIZE_PX = 32767
HIDDEN = np.uint32(0xFFFFFFFF)
"""The sort key of Gaussians that the image does not show."""
BOX_MARGIN_PX = np.float32(4e-3)
"""Boxes are widened by this, more than roundings and the rough logarithm move an edge; what it lets in is tested
exactly later."""

Array: TypeAlias = Any
Lanes: TypeAlias = Any
"""Types inside kernels are numba's affair."""

_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_LOG2E, _TWO_LN2 = np.float32(math.log2(math.e)), np.float32(2 * math.log(2))
_MIN, _LOG2_MIN = np.float32(ALPHA_MIN), np.float32(math.log2(ALPHA_MIN))
_EXTENT, _FAR, _MARGIN = np.float32(EXTENT_SIGMAS), np.float32(FAR_PLANE_M), np.float32(FRUSTUM_MARGIN)
_TINY, _MINUS_HALF_LOG2E = np.float32(1e-12), np.float32(-0.5 * math.log2(math.e))


@kernel(inline="always")
def _slope_limits(K: Array, width: int, height: int) -> tuple[float, float, float, float]:
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    w, h = np.float32(width), np.float32(height)
    mx, my = _MARGIN * w / fx * _HALF, _MARGIN * h / fy * _HALF
    return -cx / fx - mx, (w - cx) / fx + mx, -cy / fy - my, (h - cy) / fy + my


@kernel(inline="always")
def _dot(a0: Lanes, a1: Lanes, a2: Lanes, b0: Lanes, b1: Lanes, b2: Lanes) -> Lanes:
    return fma(a0, b0, fma(a1, b1, a2 * b2))


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
    """Fill records [N x stride], `boxes` (the records as int32) and the depth sort keys [N] (uint32).

    means, quats, scales and opacities are flat, colors is [N, C].
    """
    found = np.empty(11 * 16, np.float32)
    tail_means, tail_quats = np.zeros(48, np.float32), np.ones(64, np.float32)
    tail_scales, tail_opacities = np.zeros(48, np.float32), np.zeros(16, np.float32)
    n_colors = colors.shape[1]
    for i in range(first_part * PART, min(last_part * PART, n), 16):
        if i + 16 <= n:
            _project_16(means, quats, scales, opacities, i, view, K, width, height, eps2d, near, antialiased, found)
        else:
            tail_means[: (n - i) * 3], tail_quats[: (n - i) * 4] = means[i * 3 :], quats[i * 4 :]
            tail_scales[: (n - i) * 3], tail_opacities[: n - i] = scales[i * 3 :], opacities[i:]
            _project_16(tail_means, tail_quats, tail_scales, tail_opacities, 0, view, K, width, height, eps2d, near,
                        antialiased, found)  # fmt: skip
        for p in range(min(16, n - i)):
            x0, y0, x1, y1 = found[112 + p], found[128 + p], found[144 + p], found[160 + p]
            if not (x0 <= x1 and y0 <= y1):
                keys[i + p] = HIDDEN
                continue
            at = (i + p) * stride
            for c in range(6):
                records[at + c] = found[c * 16 + p]
            boxes[at + 6] = np.int32(x0) | np.int32(x1) << 16
            boxes[at + 7] = np.int32(y0) | np.int32(y1) << 16
            for c in range(n_colors):
                records[at + GEOMETRY + c] = colors[i + p, c]
            depth = found[96 + p]
            if with_depth:
                records[at + GEOMETRY + n_colors] = depth
            for c in range(GEOMETRY + n_colors + with_depth, stride):
                records[at + c] = _ZERO
            bits = np.float32(depth).view(np.uint32)
            keys[i + p] = bits | np.uint32(0x80000000) if bits < np.uint32(0x80000000) else ~bits


@kernel(inline="always")
def _camera_lanes(view: Array) -> tuple[Lanes, ...]:
    return (
        broadcast16(view[0, 0]), broadcast16(view[0, 1]), broadcast16(view[0, 2]), broadcast16(view[0, 3]),
        broadcast16(view[1, 0]), broadcast16(view[1, 1]), broadcast16(view[1, 2]), broadcast16(view[1, 3]),
        broadcast16(view[2, 0]), broadcast16(view[2, 1]), broadcast16(view[2, 2]), broadcast16(view[2, 3]),
    )  # fmt: skip


@kernel(inline="always")
def _rays(means: Array, i: int, view: Array, near: float) -> tuple[Lanes, ...]:
    """Camera depth, whether it is in range, 1 / depth (1 where not), and the ray's slopes."""
    one = broadcast16(_ONE)
    px, py, pz = load16_of_3(means, i * 3, 0), load16_of_3(means, i * 3, 1), load16_of_3(means, i * 3, 2)
    v00, v01, v02, v03, v10, v11, v12, v13, v20, v21, v22, v23 = _camera_lanes(view)
    depth = _dot(v20, v21, v22, px, py, pz) + v23
    in_range = (depth >= broadcast16(near)) & (depth <= broadcast16(_FAR))
    inv_z = one / select(in_range, depth, one)
    ray_x = (_dot(v00, v01, v02, px, py, pz) + v03) * inv_z
    ray_y = (_dot(v10, v11, v12, px, py, pz) + v13) * inv_z
    return depth, in_range, inv_z, ray_x, ray_y


@kernel(inline="always")
def _jacobian(
    view: Array, K: Array, width: int, height: int, inv_z: Lanes, ray_x: Lanes, ray_y: Lanes
) -> tuple[Lanes, ...]:
    """The two rows (focal / depth) (row of the view - slope x its last row), with the slopes as they are clamped."""
    low_x, high_x, low_y, high_y = _slope_limits(K, width, height)
    v00, v01, v02, _, v10, v11, v12, _, v20, v21, v22, _ = _camera_lanes(view)
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


@kernel()
def _project_16(
    means: Array,
    quats: Array,
    scales: Array,
    opacities: Array,
    i: int,
    view: Array,
    K: Array,
    width: int,
    height: int,
    eps2d: float,
    near: float,
    antialiased: bool,
    found: Array,
) -> None:
    """Rows of found [11, 16]: six of GEOMETRY, depth, first column, first row, last column, last row.

    A Gaussian that is not seen gets an empty box.
    """
    zero, one, half = broadcast16(_ZERO), broadcast16(_ONE), broadcast16(_HALF)
    depth, in_range, inv_z, ray_x, ray_y = _rays(means, i, view, near)
    center_x = fma(broadcast16(K[0, 0]), ray_x, broadcast16(K[0, 2]))
    center_y = fma(broadcast16(K[1, 1]), ray_y, broadcast16(K[1, 2]))
    jx0, jx1, jx2, jy0, jy1, jy2, _, _ = _jacobian(view, K, width, height, inv_z, ray_x, ray_y)
    w, x, y, z, _ = _unit_quaternions(quats, i)
    r00, r01, r02, r10, r11, r12, r20, r21, r22 = _rotation(w, x, y, z)
    s0, s1, s2 = load16_of_3(scales, i * 3, 0), load16_of_3(scales, i * 3, 1), load16_of_3(scales, i * 3, 2)
    mx0, my0 = _dot(jx0, jx1, jx2, r00, r10, r20) * s0, _dot(jy0, jy1, jy2, r00, r10, r20) * s0
    mx1, my1 = _dot(jx0, jx1, jx2, r01, r11, r21) * s1, _dot(jy0, jy1, jy2, r01, r11, r21) * s1
    mx2, my2 = _dot(jx0, jx1, jx2, r02, r12, r22) * s2, _dot(jy0, jy1, jy2, r02, r12, r22) * s2
    xx, yy = _dot(mx0, mx1, mx2, mx0, mx1, mx2), _dot(my0, my1, my2, my0, my1, my2)
    xy = _dot(mx0, mx1, mx2, my0, my1, my2)
    sharp = xx * yy - xy * xy
    xx, yy = xx + broadcast16(eps2d), yy + broadcast16(eps2d)
    det = xx * yy - xy * xy
    valid = in_range & (det > zero)
    inverse = one / select(valid, det, one)
    opacity = load16(opacities, i)
    if antialiased:
        opacity = opacity * square_root(maximum(sharp * inverse, zero))
    valid = valid & (opacity >= broadcast16(_MIN))
    log_ratio = log2_roughly(select(valid, opacity, one)) - broadcast16(_LOG2_MIN)
    reach = minimum(broadcast16(_EXTENT), square_root(maximum(broadcast16(_TWO_LN2) * log_ratio, zero)))
    margin = broadcast16(BOX_MARGIN_PX)
    extent_x, extent_y = fma(reach, square_root(xx), margin), fma(reach, square_root(yy), margin)
    center_x, center_y = center_x - half, center_y - half
    last_x, last_y = broadcast16(np.float32(width - 1)), broadcast16(np.float32(height - 1))
    # An unseen Gaussian's box starts right of every image.
    store16(found, 112, select(valid, maximum(ceiling(center_x - extent_x), zero), broadcast16(_FAR)))
    store16(found, 128, maximum(ceiling(center_y - extent_y), zero))
    store16(found, 144, minimum(floor(center_x + extent_x), last_x))
    store16(found, 160, minimum(floor(center_y + extent_y), last_y))
    store16(found, 0, center_x + half)
    store16(found, 16, center_y + half)
    factor = broadcast16(_MINUS_HALF_LOG2E) * inverse
    store16(found, 32, factor * yy)
    store16(found, 48, broadcast16(_LOG2E) * inverse * xy)
    store16(found, 64, factor * xx)
    store16(found, 80, opacity)
    store16(found, 96, depth)


@kernel(inline="always")
def _sum_slots(
    i: int,
    count: int,
    stride: int,
    boxes: Array,
    tiles_x: int,
    pair_starts: Array,
    pair_entries: Array,
    tile_starts: Array,
    used: Array,
    entry_slots: Array,
    slots: Array,
    slot_stride: int,
    sums: Array,
    moments: Array,
    grad_colors: Array,
) -> bool:
    """Add each Gaussian's slots in tile order; moments [8, 16], colours straight to their gradient."""
    n_colors, any_used = grad_colors.shape[1], False
    for p in range(16):
        for c in range(0, slot_stride, 8):
            store8(sums, c, broadcast8(_ZERO))
        if p < count:
            first, last = pair_starts[i + p], pair_starts[i + p + 1]
            if last > first:
                x, y = boxes[(i + p) * stride + 6], boxes[(i + p) * stride + 7]
                wide = (x >> 20) - ((x & 0xFFFF) >> 4) + 1
                tile, column = ((y & 0xFFFF) >> 4) * tiles_x + ((x & 0xFFFF) >> 4), 0
                for pair in range(first, last):
                    if pair + AHEAD < len(pair_entries):
                        # The tile of that pair is not known yet; neighbours mostly share theirs.
                        prefetch(slots, (pair_entries[pair + AHEAD] + entry_slots[tile]) * slot_stride)
                    place = np.int64(pair_entries[pair])
                    if place - tile_starts[tile] < used[tile]:
                        any_used = True
                        at = (place + entry_slots[tile]) * slot_stride
                        for c in range(0, slot_stride, 8):
                            store8(sums, c, load8(sums, c) + load8(slots, at + c))
                    column += 1
                    tile += 1
                    if column == wide:
                        column, tile = 0, tile + tiles_x - wide
            for c in range(n_colors):
                grad_colors[i + p, c] += sums[MOMENTS + c]
        for c in range(6):
            moments[c * 16 + p] = sums[c]
        # The gradient of the depth channel, where there is one.
        moments[6 * 16 + p] = sums[MOMENTS + n_colors] if MOMENTS + n_colors < slot_stride else _ZERO
    return any_used


@kernel()
def project_backward(
    first_part: int,
    last_part: int,
    n: int,
    means: Array,
    quats: Array,
    scales: Array,
    opacities: Array,
    view: Array,
    K: Array,
    width: int,
    height: int,
    eps2d: float,
    near: float,
    antialiased: bool,
    with_depth: bool,
    stride: int,
    boxes: Array,
    tiles_x: int,
    pair_starts: Array,
    pair_entries: Array,
    tile_starts: Array,
    used: Array,
    entry_slots: Array,
    slots: Array,
    slot_stride: int,
    grad_means: Array,
    grad_quats: Array,
    grad_scales: Array,
    grad_opacities: Array,
    grad_colors: Array,
    view_parts: Array,
) -> None:
    """Add one image's gradients to those of the Gaussians, and fill the camera's, [parts, 3, 4], part by part."""
    sums, moments, out = np.empty(slot_stride, np.float32), np.empty(7 * 16, np.float32), np.empty(11 * 16, np.float32)
    tail_means, tail_quats = np.zeros(48, np.float32), np.ones(64, np.float32)
    tail_scales, tail_opacities = np.zeros(48, np.float32), np.zeros(16, np.float32)
    camera = np.empty(12 * 16, np.float32)
    for part in range(first_part, last_part):
        camera[:] = _ZERO
        for i in range(part * PART, min((part + 1) * PART, n), 16):
            count = min(16, n - i)
            if not _sum_slots(i, count, stride, boxes, tiles_x, pair_starts, pair_entries, tile_starts, used,
                              entry_slots, slots, slot_stride, sums, moments, grad_colors):  # fmt: skip
                continue
            if not with_depth:
                moments[6 * 16 :] = _ZERO
            if count == 16:
                _project_16_backward(means, quats, scales, opacities, i, view, K, width, height, eps2d, near,
                                     antialiased, moments, out, camera)  # fmt: skip
            else:
                tail_means[: count * 3], tail_quats[: count * 4] = means[i * 3 :], quats[i * 4 :]
                tail_scales[: count * 3], tail_opacities[:count] = scales[i * 3 :], opacities[i:]
                _project_16_backward(tail_means, tail_quats, tail_scales, tail_opacities, 0, view, K, width, height,
                                     eps2d, near, antialiased, moments, out, camera)  # fmt: skip
            for p in range(count):
                for c in range(3):
                    grad_means[i + p, c] += out[c * 16 + p]
                    grad_scales[i + p, c] += out[(3 + c) * 16 + p]
                for c in range(4):
                    grad_quats[i + p, c] += out[(6 + c) * 16 + p]
                grad_opacities[i + p] += out[10 * 16 + p]
        for c in range(12):
            total = 0.0
            for p in range(16):
                total += camera[c * 16 + p]
            view_parts[part, c // 4, c % 4] = total


@kernel(inline="always")
def _add16(array: Array, row: int, value: Lanes) -> None:
    store16(array, row * 16, load16(array, row * 16) + value)


@kernel()
def _project_16_backward(
    means: Array,
    quats: Array,
    scales: Array,
    opacities: Array,
    i: int,
    view: Array,
    K: Array,
    width: int,
    height: int,
    eps2d: float,
    near: float,
    antialiased: bool,
    moments: Array,
    out: Array,
    camera: Array,
) -> None:
    """From the exponents' gradients (times 1, dx, dy, dx^2, dx dy, dy^2) and the depths' to those of the inputs.

    out [11, 16]: means 3, scales 3, quats 4, opacity; camera [12, 16] is added to.
    """
    zero, one, two, half = broadcast16(_ZERO), broadcast16(_ONE), broadcast16(_TWO), broadcast16(_HALF)
    # Forwards again, as `_project_16` does it.
    _, in_range, inv_z, ray_x, ray_y = _rays(means, i, view, near)
    jx0, jx1, jx2, jy0, jy1, jy2, slope_x, slope_y = _jacobian(view, K, width, height, inv_z, ray_x, ray_y)
    w, x, y, z, inv_norm = _unit_quaternions(quats, i)
    r00, r01, r02, r10, r11, r12, r20, r21, r22 = _rotation(w, x, y, z)
    s0, s1, s2 = load16_of_3(scales, i * 3, 0), load16_of_3(scales, i * 3, 1), load16_of_3(scales, i * 3, 2)
    ux0, uy0 = _dot(jx0, jx1, jx2, r00, r10, r20), _dot(jy0, jy1, jy2, r00, r10, r20)
    ux1, uy1 = _dot(jx0, jx1, jx2, r01, r11, r21), _dot(jy0, jy1, jy2, r01, r11, r21)
    ux2, uy2 = _dot(jx0, jx1, jx2, r02, r12, r22), _dot(jy0, jy1, jy2, r02, r12, r22)
    mx0, mx1, mx2, my0, my1, my2 = ux0 * s0, ux1 * s1, ux2 * s2, uy0 * s0, uy1 * s1, uy2 * s2
    xx, yy = _dot(mx0, mx1, mx2, mx0, mx1, mx2), _dot(my0, my1, my2, my0, my1, my2)
    xy = _dot(mx0, mx1, mx2, my0, my1, my2)
    sharp = xx * yy - xy * xy
    eps = broadcast16(eps2d)
    xx, yy = xx + eps, yy + eps
    det = xx * yy - xy * xy
    inv_det = one / select(in_range & (det > zero), det, one)
    a, b, c = yy * inv_det, zero - xy * inv_det, xx * inv_det
    # To the ellipse: centre, then covariance through its inverse.
    s_x, s_y = load16(moments, 16), load16(moments, 32)
    g_cx, g_cy = zero - fma(a, s_x, b * s_y), zero - fma(b, s_x, c * s_y)
    ga, gb, gc = half * load16(moments, 48), load16(moments, 64), half * load16(moments, 80)
    g_xx = a * a * ga + a * b * gb + b * b * gc
    g_yy = b * b * ga + b * c * gb + c * c * gc
    g_xy = two * a * b * ga + (a * c + b * b) * gb + two * b * c * gc
    # The first moment is the gradient times the opacity, the antialiasing factor included.
    opacity, pull = load16(opacities, i), load16(moments, 0)
    store16(out, 160, pull / select(opacity > zero, opacity, one))
    if antialiased:
        ratio = sharp * inv_det
        g_ratio = select(ratio > zero, half * pull / maximum(ratio, broadcast16(_TINY)), zero)
        inv_eps = eps * (a * c - b * b)
        g_xx = g_xx + g_ratio * ((one - ratio) * a - inv_eps)
        g_yy = g_yy + g_ratio * ((one - ratio) * c - inv_eps)
        g_xy = g_xy + g_ratio * two * (one - ratio) * b
    gmx0, gmy0 = fma(two * g_xx, mx0, g_xy * my0), fma(two * g_yy, my0, g_xy * mx0)
    gmx1, gmy1 = fma(two * g_xx, mx1, g_xy * my1), fma(two * g_yy, my1, g_xy * mx1)
    gmx2, gmy2 = fma(two * g_xx, mx2, g_xy * my2), fma(two * g_yy, my2, g_xy * mx2)
    store16(out, 48, fma(gmx0, ux0, gmy0 * uy0))
    store16(out, 64, fma(gmx1, ux1, gmy1 * uy1))
    store16(out, 80, fma(gmx2, ux2, gmy2 * uy2))
    gux0, gux1, gux2, guy0, guy1, guy2 = gmx0 * s0, gmx1 * s1, gmx2 * s2, gmy0 * s0, gmy1 * s1, gmy2 * s2
    # To the rotation, and from it to the quaternion, freed of the part along the quaternion.
    g00, g01, g02 = fma(jx0, gux0, jy0 * guy0), fma(jx0, gux1, jy0 * guy1), fma(jx0, gux2, jy0 * guy2)
    g10, g11, g12 = fma(jx1, gux0, jy1 * guy0), fma(jx1, gux1, jy1 * guy1), fma(jx1, gux2, jy1 * guy2)
    g20, g21, g22 = fma(jx2, gux0, jy2 * guy0), fma(jx2, gux1, jy2 * guy1), fma(jx2, gux2, jy2 * guy2)
    gw = two * _dot(x, y, z, g21 - g12, g02 - g20, g10 - g01)
    gqx = two * (_dot(w, y, z, g21 - g12, g01 + g10, g02 + g20) - two * x * (g11 + g22))
    gqy = two * (_dot(w, x, z, g02 - g20, g01 + g10, g12 + g21) - two * y * (g00 + g22))
    gqz = two * (_dot(w, x, y, g10 - g01, g02 + g20, g12 + g21) - two * z * (g00 + g11))
    along = fma(gw, w, _dot(gqx, gqy, gqz, x, y, z))
    store16(out, 96, (gw - along * w) * inv_norm)
    store16(out, 112, (gqx - along * x) * inv_norm)
    store16(out, 128, (gqy - along * y) * inv_norm)
    store16(out, 144, (gqz - along * z) * inv_norm)
    # To the Jacobian's rows and through them to the slopes, the depth and the camera.
    hx0, hy0 = _dot(r00, r01, r02, gux0, gux1, gux2), _dot(r00, r01, r02, guy0, guy1, guy2)
    hx1, hy1 = _dot(r10, r11, r12, gux0, gux1, gux2), _dot(r10, r11, r12, guy0, guy1, guy2)
    hx2, hy2 = _dot(r20, r21, r22, gux0, gux1, gux2), _dot(r20, r21, r22, guy0, guy1, guy2)
    v00, v01, v02, _, v10, v11, v12, _, v20, v21, v22, _ = _camera_lanes(view)
    low_x, high_x, low_y, high_y = _slope_limits(K, width, height)
    fx, fy = broadcast16(K[0, 0]), broadcast16(K[1, 1])
    gx, gy = fx * inv_z, fy * inv_z
    free_x = (ray_x >= broadcast16(low_x)) & (ray_x <= broadcast16(high_x))
    free_y = (ray_y >= broadcast16(low_y)) & (ray_y <= broadcast16(high_y))
    g_ray_x = fx * g_cx - select(free_x, gx * _dot(v20, v21, v22, hx0, hx1, hx2), zero)
    g_ray_y = fy * g_cy - select(free_y, gy * _dot(v20, v21, v22, hy0, hy1, hy2), zero)
    g_x, g_y = g_ray_x * inv_z, g_ray_y * inv_z
    shrink = _dot(jx0, jx1, jx2, hx0, hx1, hx2) + _dot(jy0, jy1, jy2, hy0, hy1, hy2)
    g_z = load16(moments, 96) - inv_z * (shrink + fma(g_ray_x, ray_x, g_ray_y * ray_y))
    store16(out, 0, _dot(v00, v10, v20, g_x, g_y, g_z))
    store16(out, 16, _dot(v01, v11, v21, g_x, g_y, g_z))
    store16(out, 32, _dot(v02, v12, v22, g_x, g_y, g_z))
    px, py, pz = load16_of_3(means, i * 3, 0), load16_of_3(means, i * 3, 1), load16_of_3(means, i * 3, 2)
    kx, ky = gx * slope_x, gy * slope_y
    _add16(camera, 0, fma(g_x, px, gx * hx0))
    _add16(camera, 1, fma(g_x, py, gx * hx1))
    _add16(camera, 2, fma(g_x, pz, gx * hx2))
    _add16(camera, 3, g_x)
    _add16(camera, 4, fma(g_y, px, gy * hy0))
    _add16(camera, 5, fma(g_y, py, gy * hy1))
    _add16(camera, 6, fma(g_y, pz, gy * hy2))
    _add16(camera, 7, g_y)
    _add16(camera, 8, fma(g_z, px, fma(kx, hx0, ky * hy0)))
    _add16(camera, 9, fma(g_z, py, fma(kx, hx1, ky * hy1)))
    _add16(camera, 10, fma(g_z, pz, fma(kx, hx2, ky * hy2)))
    _add16(camera, 11, g_z)
