"""Backward pass of the projection: from gradient slots to the gradients of Gaussians and camera.

16 Gaussians are the lanes of one vector, in parts of fixed size; slots are added in tile order and the camera's
gradients part by part, so that results do not depend on the distribution of parts over threads.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from headforge.render.jit import kernel
from headforge.render.splatting.lanes import (
    broadcast8,
    broadcast16,
    element,
    fma,
    load4,
    load8,
    load16,
    load16_of_3,
    load16_of_4,
    maximum,
    prefetch,
    select,
    store4,
    store8,
    store16,
    store16_of_3,
    store16_of_4,
)
from headforge.render.splatting.project import (
    PART,
    blurred,
    camera_lanes,
    dot,
    empty_tail,
    fill_tail,
    screen_axes,
    slope_limits,
    tile_range,
)

MOMENTS = 8
"""Floats of a gradient slot: sums of the exponent's gradient times 1, dx, dy, dx^2, dx dy, dy^2; two unused.
The colours' gradients follow, in groups of 8, at least one."""
AHEAD = 16
"""Prefetch distance in slots."""
Array: TypeAlias = Any
Lanes: TypeAlias = Any
"""Types inside kernels are inferred by numba."""

_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_TINY = np.float32(1e-12)


@kernel(inline="always")
def _sum_slots(
    i: int,
    count: int,
    boxes: Array,
    tiles_x: int,
    pair_starts: Array,
    pair_entries: Array,
    used_ends: Array,
    slots: Array,
    slot_stride: int,
    n_colors: int,
    is_first: bool,
    sums: Array,
    moments: Array,
    grad_colors: Array,
) -> bool:
    """Add each Gaussian's slots in tile order, to moments [7, 16] (6, depth) and the gradient of the colours."""
    any_used = False
    for p in range(count):
        first, last = pair_starts[i + p], pair_starts[i + p + 1]
        low, high = broadcast8(_ZERO), broadcast8(_ZERO)
        for c in range(16, slot_stride, 8):
            store8(sums, c, low)
        if last > first:
            x0, x1, y0, _ = tile_range(boxes, i + p)
            wide, tile, column = x1 - x0 + 1, y0 * tiles_x + x0, 0
            for pair in range(first, last):
                if pair + AHEAD < len(pair_entries):
                    prefetch(slots, np.int64(element(pair_entries, pair + AHEAD)) * slot_stride)
                entry = np.int64(element(pair_entries, pair))
                if entry < element(used_ends, tile):
                    any_used = True
                    at = entry * slot_stride
                    low, high = low + load8(slots, at), high + load8(slots, at + 8)
                    for c in range(16, slot_stride, 8):
                        store8(sums, c, load8(sums, c) + load8(slots, at + c))
                column += 1
                tile += 1
                if column == wide:
                    column, tile = 0, tile + tiles_x - wide
        store8(sums, 0, low)
        store8(sums, 8, high)
        for c in range(6):
            moments[c * 16 + p] = element(sums, c)
        # The gradient of the depth channel, where there is one.
        moments[96 + p] = sums[MOMENTS + n_colors] if MOMENTS + n_colors < slot_stride else _ZERO
        at, whole = (i + p) * n_colors, n_colors & ~3
        for c in range(0, whole, 4):
            color = load4(sums, MOMENTS + c)
            store4(grad_colors, at + c, color if is_first else color + load4(grad_colors, at + c))
        for c in range(whole, n_colors):
            color = element(sums, MOMENTS + c)
            grad_colors[at + c] = color if is_first else color + element(grad_colors, at + c)
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
    boxes: Array,
    tiles_x: int,
    pair_starts: Array,
    pair_entries: Array,
    used_ends: Array,
    slots: Array,
    slot_stride: int,
    n_colors: int,
    is_first: bool,
    grad_means: Array,
    grad_quats: Array,
    grad_scales: Array,
    grad_opacities: Array,
    grad_colors: Array,
    view_parts: Array,
) -> None:
    """Add one image's gradients to the Gaussians', and fill the camera's, [parts, 3, 4], part by part.

    All arrays of Gaussians are flat. If `is_first`, their gradients are overwritten.
    """
    sums, moments, camera = np.empty(slot_stride, np.float32), np.zeros(7 * 16, np.float32), np.empty(192, np.float32)
    tail = empty_tail()
    for part in range(first_part, last_part):
        camera[:] = _ZERO
        for i in range(part * PART, min((part + 1) * PART, n), 16):
            count = min(16, n - i)
            any_used = _sum_slots(i, count, boxes, tiles_x, pair_starts, pair_entries, used_ends, slots, slot_stride,
                                  n_colors, is_first, sums, moments, grad_colors)  # fmt: skip
            if not any_used and not is_first:
                continue
            if not with_depth:
                moments[96:] = _ZERO
            if count == 16:
                _project_16_backward(means, quats, scales, opacities, i, view, K, width, height, eps2d, near,
                                     antialiased, moments, is_first, grad_means, grad_quats, grad_scales,
                                     grad_opacities, camera)  # fmt: skip
                continue
            fill_tail(tail, means, quats, scales, opacities, i)
            for c in range(7):
                moments[c * 16 + count : c * 16 + 16] = _ZERO
            tail_grads = np.empty(48, np.float32), np.empty(64, np.float32), np.empty(48, np.float32)
            tail_grad_opacities = np.empty(16, np.float32)
            _project_16_backward(tail[0], tail[1], tail[2], tail[3], 0, view, K, width, height, eps2d, near,
                                 antialiased, moments, True, tail_grads[0], tail_grads[1], tail_grads[2],
                                 tail_grad_opacities, camera)  # fmt: skip
            _add_tail(tail_grads[0], grad_means, i * 3, count * 3, is_first)
            _add_tail(tail_grads[1], grad_quats, i * 4, count * 4, is_first)
            _add_tail(tail_grads[2], grad_scales, i * 3, count * 3, is_first)
            _add_tail(tail_grad_opacities, grad_opacities, i, count, is_first)
        for c in range(12):
            total = 0.0
            for p in range(16):
                total += camera[c * 16 + p]
            view_parts[part, c // 4, c % 4] = total


@kernel(inline="always")
def _add_tail(values: Array, into: Array, first: int, count: int, is_first: bool) -> None:
    for k in range(count):
        into[first + k] = values[k] + (_ZERO if is_first else into[first + k])


@kernel(inline="always")
def _add16(array: Array, row: int, value: Lanes) -> None:
    store16(array, row * 16, load16(array, row * 16) + value)


@kernel(inline="always")
def _add16_of_3(array: Array, i: int, a: Lanes, b: Lanes, c: Lanes, is_first: bool) -> None:
    if not is_first:
        a, b = a + load16_of_3(array, i * 3, 0), b + load16_of_3(array, i * 3, 1)
        c = c + load16_of_3(array, i * 3, 2)
    store16_of_3(array, i * 3, (a, b, c))


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
    is_first: bool,
    grad_means: Array,
    grad_quats: Array,
    grad_scales: Array,
    grad_opacities: Array,
    camera: Array,
) -> None:
    """Compute the inputs' gradients from those of exponents (times 1, dx, dy, dx^2, dx dy, dy^2) and depths.

    Adds to camera [12, 16].
    """
    axes = screen_axes(means, quats, scales, i, view, K, width, height, near)
    rays, jacobian, quaternion, rotation, (s0, s1, s2), (ux0, ux1, ux2, uy0, uy1, uy2), scaled, variances = axes
    g_opacity, g_center, (g_xx, g_xy, g_yy) = _ellipse_gradients(opacities, i, moments, variances, rays[1], eps2d,
                                                                 antialiased)  # fmt: skip
    if not is_first:
        g_opacity = g_opacity + load16(grad_opacities, i)
    store16(grad_opacities, i, g_opacity)
    g_xx, g_yy = g_xx + g_xx, g_yy + g_yy
    mx0, mx1, mx2, my0, my1, my2 = scaled
    gmx0, gmy0 = fma(g_xx, mx0, g_xy * my0), fma(g_yy, my0, g_xy * mx0)
    gmx1, gmy1 = fma(g_xx, mx1, g_xy * my1), fma(g_yy, my1, g_xy * mx1)
    gmx2, gmy2 = fma(g_xx, mx2, g_xy * my2), fma(g_yy, my2, g_xy * mx2)
    _add16_of_3(grad_scales, i, fma(gmx0, ux0, gmy0 * uy0), fma(gmx1, ux1, gmy1 * uy1), fma(gmx2, ux2, gmy2 * uy2),
                is_first)  # fmt: skip
    g_axes = gmx0 * s0, gmx1 * s1, gmx2 * s2, gmy0 * s0, gmy1 * s1, gmy2 * s2
    gw, gx, gy, gz = _quaternion_gradients(quaternion, jacobian, g_axes)
    if not is_first:
        gw, gx = gw + load16_of_4(grad_quats, i * 4, 0), gx + load16_of_4(grad_quats, i * 4, 1)
        gy, gz = gy + load16_of_4(grad_quats, i * 4, 2), gz + load16_of_4(grad_quats, i * 4, 3)
    store16_of_4(grad_quats, i * 4, (gw, gx, gy, gz))
    point = load16_of_3(means, i * 3, 0), load16_of_3(means, i * 3, 1), load16_of_3(means, i * 3, 2)
    g_x, g_y, g_z = _point_gradients(view, K, width, height, rays, jacobian, rotation, g_axes, g_center,
                                     load16(moments, 96), point, camera)  # fmt: skip
    v00, v01, v02, _, v10, v11, v12, _, v20, v21, v22, _ = camera_lanes(view)
    _add16_of_3(grad_means, i, dot(v00, v10, v20, g_x, g_y, g_z), dot(v01, v11, v21, g_x, g_y, g_z),
                dot(v02, v12, v22, g_x, g_y, g_z), is_first)  # fmt: skip


@kernel(inline="always")
def _ellipse_gradients(
    opacities: Array, i: int, moments: Array, variances: tuple[Lanes, ...], in_range: Lanes, eps2d: float,
    antialiased: bool,
) -> tuple[Lanes, tuple[Lanes, ...], tuple[Lanes, ...]]:  # fmt: skip
    """Return the gradients of the opacity, the centre x, y, and the variances xx, xy, yy (through their inverse)."""
    zero, one, two, half = broadcast16(_ZERO), broadcast16(_ONE), broadcast16(_TWO), broadcast16(_HALF)
    xy = variances[1]
    xx, yy, sharp, _, inv_det = blurred(variances, in_range, eps2d)
    a, b, c = yy * inv_det, zero - xy * inv_det, xx * inv_det
    s_x, s_y = load16(moments, 16), load16(moments, 32)
    center = zero - fma(a, s_x, b * s_y), zero - fma(b, s_x, c * s_y)
    ga, gb, gc = half * load16(moments, 48), load16(moments, 64), half * load16(moments, 80)
    g_xx = a * a * ga + a * b * gb + b * b * gc
    g_yy = b * b * ga + b * c * gb + c * c * gc
    g_xy = two * a * b * ga + (a * c + b * b) * gb + two * b * c * gc
    # The first moment is the gradient times the opacity, the antialiasing factor included.
    opacity, pull = load16(opacities, i), load16(moments, 0)
    if antialiased:
        ratio = sharp * inv_det
        g_ratio = select(ratio > zero, half * pull / maximum(ratio, broadcast16(_TINY)), zero)
        inv_eps = broadcast16(eps2d) * (a * c - b * b)
        g_xx = g_xx + g_ratio * ((one - ratio) * a - inv_eps)
        g_yy = g_yy + g_ratio * ((one - ratio) * c - inv_eps)
        g_xy = g_xy + g_ratio * two * (one - ratio) * b
    return pull / select(opacity > zero, opacity, one), center, (g_xx, g_xy, g_yy)


@kernel(inline="always")
def _quaternion_gradients(
    quaternion: tuple[Lanes, ...], jacobian: tuple[Lanes, ...], g_axes: tuple[Lanes, ...]
) -> tuple[Lanes, Lanes, Lanes, Lanes]:
    """Return the gradients of the unnormalised quaternion from those of the screen rows of the unit axes."""
    w, x, y, z, inv_norm = quaternion
    jx0, jx1, jx2, jy0, jy1, jy2, _, _ = jacobian
    gux0, gux1, gux2, guy0, guy1, guy2 = g_axes
    two = broadcast16(_TWO)
    g00, g01, g02 = fma(jx0, gux0, jy0 * guy0), fma(jx0, gux1, jy0 * guy1), fma(jx0, gux2, jy0 * guy2)
    g10, g11, g12 = fma(jx1, gux0, jy1 * guy0), fma(jx1, gux1, jy1 * guy1), fma(jx1, gux2, jy1 * guy2)
    g20, g21, g22 = fma(jx2, gux0, jy2 * guy0), fma(jx2, gux1, jy2 * guy1), fma(jx2, gux2, jy2 * guy2)
    gw = two * dot(x, y, z, g21 - g12, g02 - g20, g10 - g01)
    gx = two * (dot(w, y, z, g21 - g12, g01 + g10, g02 + g20) - two * x * (g11 + g22))
    gy = two * (dot(w, x, z, g02 - g20, g01 + g10, g12 + g21) - two * y * (g00 + g22))
    gz = two * (dot(w, x, y, g10 - g01, g02 + g20, g12 + g21) - two * z * (g00 + g11))
    # Without the component along the quaternion.
    along = fma(gw, w, dot(gx, gy, gz, x, y, z))
    return ((gw - along * w) * inv_norm, (gx - along * x) * inv_norm,
            (gy - along * y) * inv_norm, (gz - along * z) * inv_norm)  # fmt: skip


@kernel(inline="always")
def _point_gradients(
    view: Array,
    K: Array,
    width: int,
    height: int,
    rays: tuple[Lanes, ...],
    jacobian: tuple[Lanes, ...],
    rotation: tuple[Lanes, ...],
    g_axes: tuple[Lanes, ...],
    g_center: tuple[Lanes, Lanes],
    g_depth: Lanes,
    point: tuple[Lanes, Lanes, Lanes],
    camera: Array,
) -> tuple[Lanes, Lanes, Lanes]:
    """Return the gradients of the camera-space points by centre, depth and Jacobian; add the camera's to `camera`."""
    _, _, inv_z, ray_x, ray_y = rays
    jx0, jx1, jx2, jy0, jy1, jy2, slope_x, slope_y = jacobian
    r00, r01, r02, r10, r11, r12, r20, r21, r22 = rotation
    gux0, gux1, gux2, guy0, guy1, guy2 = g_axes
    hx0, hy0 = dot(r00, r01, r02, gux0, gux1, gux2), dot(r00, r01, r02, guy0, guy1, guy2)
    hx1, hy1 = dot(r10, r11, r12, gux0, gux1, gux2), dot(r10, r11, r12, guy0, guy1, guy2)
    hx2, hy2 = dot(r20, r21, r22, gux0, gux1, gux2), dot(r20, r21, r22, guy0, guy1, guy2)
    _, _, _, _, _, _, _, _, v20, v21, v22, _ = camera_lanes(view)
    low_x, high_x, low_y, high_y = slope_limits(K, width, height)
    zero, fx, fy = broadcast16(_ZERO), broadcast16(K[0, 0]), broadcast16(K[1, 1])
    gx, gy = fx * inv_z, fy * inv_z
    free_x = (ray_x >= broadcast16(low_x)) & (ray_x <= broadcast16(high_x))
    free_y = (ray_y >= broadcast16(low_y)) & (ray_y <= broadcast16(high_y))
    g_ray_x = fx * g_center[0] - select(free_x, gx * dot(v20, v21, v22, hx0, hx1, hx2), zero)
    g_ray_y = fy * g_center[1] - select(free_y, gy * dot(v20, v21, v22, hy0, hy1, hy2), zero)
    g_x, g_y = g_ray_x * inv_z, g_ray_y * inv_z
    shrink = dot(jx0, jx1, jx2, hx0, hx1, hx2) + dot(jy0, jy1, jy2, hy0, hy1, hy2)
    g_z = g_depth - inv_z * (shrink + fma(g_ray_x, ray_x, g_ray_y * ray_y))
    px, py, pz = point
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
    return g_x, g_y, g_z
