"""Colours of the surfaces that pixels see: skin, eyes, mouth, frames of glasses. One pass over the pixels."""

from __future__ import annotations

import numpy as np
import torch

from headforge.render.jit import kernel
from headforge.render.shading import sh_irradiance
from headforge.synth.lighting import Light

KINDS = ("skin", "ear", "eyeball", "mouth_interior", "teeth", "tongue", "frame", "cloth")
SKIN, EAR, EYEBALL, MOUTH, TEETH, TONGUE, FRAME, CLOTH = range(len(KINDS))
EYE_MAP_RAD = 1.4
"""Angle from the pupil that the eye's picture covers."""
N_LID_POINTS = 13
GAMMA = 2.2
MAX_LINEAR = 2.5
CURVE_SIZE = 4096


def tone_curve() -> np.ndarray:
    """[CURVE_SIZE] float32: sRGB of linear colour from 0 to `MAX_LINEAR`, highlights softly compressed."""
    linear = np.linspace(0, MAX_LINEAR, CURVE_SIZE)
    return (np.clip(1.10 * linear / (1 + 0.10 * linear), 0, 1) ** (1 / GAMMA)).astype(np.float32)


def irradiance_polynomial(light: Light) -> np.ndarray:
    """[3, 9] float64: irradiance of a light as a polynomial 1, x, y, z, xy, yz, xz, zz, xx - yy of the normal."""
    rng = np.random.default_rng(0)
    n = rng.normal(size=(64, 3))
    n /= np.linalg.norm(n, axis=-1, keepdims=True)
    x, y, z = n.T
    terms = np.stack([np.ones_like(x), x, y, z, x * y, y * z, x * z, z * z, x * x - y * y], -1)
    wanted = sh_irradiance(torch.from_numpy(n), light.coefficients.double()).numpy()
    return np.ascontiguousarray(np.linalg.lstsq(terms, wanted, rcond=None)[0].T)


@kernel()
def irradiance(poly, c, x, y, z):
    """Light of channel `c` on a surface with the unit normal (x, y, z); at least 0.01."""
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


@kernel()
def _encode(curve, value):
    at = value * ((CURVE_SIZE - 1) / MAX_LINEAR)
    if at <= 0:
        return curve[0]
    if at >= CURVE_SIZE - 1:
        return curve[CURVE_SIZE - 1]
    i = int(at)
    return curve[i] + (at - i) * (curve[i + 1] - curve[i])


@kernel()
def _step(x, low, high):
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@kernel()
def _bilinear(texture, row, column, c):
    """Channel `c` of a texture [R, R, C] at a place in texels, centres at +0.5, the edge repeated."""
    n_rows, n_columns = texture.shape[0], texture.shape[1]
    y = min(max(row - 0.5, 0.0), n_rows - 1.001)
    x = min(max(column - 0.5, 0.0), n_columns - 1.001)
    i, j = int(y), int(x)
    a, b = y - i, x - j
    top = texture[i, j, c] * (1 - b) + texture[i, j + 1, c] * b
    low = texture[i + 1, j, c] * (1 - b) + texture[i + 1, j + 1, c] * b
    return top * (1 - a) + low * a


@kernel()
def _eye_color(eye, turn, eye_picture, lids, x, y, z, out):
    """Linear colour, normal, occlusion and height over the lower lid of a point of an eyeball into `out` [8].

    `eye` [12] is the centre and the axes right, up and ahead of the eyeball; `turn` [3, 3] takes the head's axes to the
    world's; `lids` [26, 2] are the azimuth and elevation of the lids' edges about the centre, upper then lower.
    """
    dx, dy, dz = x - eye[0], y - eye[1], z - eye[2]
    size = np.sqrt(dx * dx + dy * dy + dz * dz) + 1e-12
    dx, dy, dz = dx / size, dy / size, dz / size
    right = dx * eye[3] + dy * eye[4] + dz * eye[5]
    up = dx * eye[6] + dy * eye[7] + dz * eye[8]
    ahead = dx * eye[9] + dy * eye[10] + dz * eye[11]
    angle = np.arccos(min(max(ahead, -1.0), 1.0))
    around = np.arctan2(up, right)
    n_rings, n_around = eye_picture.shape[0], eye_picture.shape[1]
    row = angle / EYE_MAP_RAD * n_rings
    column = (around / (2 * np.pi) + 0.5) * (n_around - 1) + 0.5
    for c in range(3):
        out[c] = _bilinear(eye_picture, row, column, c)
    # The cornea is a steeper dome than the ball: its normals start from a point ahead of the centre.
    dome = 1 - _step(angle, 0.38, 0.58)
    nx, ny, nz = dx - dome * 0.42 * eye[9], dy - dome * 0.42 * eye[10], dz - dome * 0.42 * eye[11]
    size = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
    out[3], out[4], out[5] = nx / size, ny / size, nz / size
    in_head_x = turn[0, 0] * dx + turn[1, 0] * dy + turn[2, 0] * dz
    in_head_y = turn[0, 1] * dx + turn[1, 1] * dy + turn[2, 1] * dz
    in_head_z = turn[0, 2] * dx + turn[1, 2] * dy + turn[2, 2] * dz
    azimuth, elevation = np.arctan2(in_head_x, in_head_z), np.arctan2(in_head_y, np.hypot(in_head_x, in_head_z))
    upper, lower = _lid_at(lids, 0, azimuth), _lid_at(lids, N_LID_POINTS, azimuth)
    out[6] = 0.30 + 0.70 * _step(upper - elevation, -0.05, 0.40)
    out[6] *= 0.65 + 0.35 * _step(elevation - lower, -0.03, 0.16)
    out[7] = elevation - lower


@kernel()
def _lid_at(lids, start, azimuth):
    """Elevation of a lid's edge, whose 13 points are ordered by growing azimuth, at an azimuth."""
    first = start
    while first < start + N_LID_POINTS - 2 and lids[first + 1, 0] < azimuth:
        first += 1
    span = lids[first + 1, 0] - lids[first, 0]
    t = 0.0 if abs(span) < 1e-6 else min(max((azimuth - lids[first, 0]) / span, 0.0), 1.0)
    return lids[first, 1] + t * (lids[first + 1, 1] - lids[first, 1])


@kernel()
def shade_surfaces(
    ids, xy, nearness, faces, kinds, attributes, uv_faces, uvs, texture, detail, eyes, middle, turn, eye_picture, lids,
    plain_linear, poly, key_direction, key_color, viewer, detail_amount, curve, rgb,
):  # fmt: skip
    """sRGB of every pixel that sees a triangle into `rgb` [H, W, 3].

    ids [H, W] triangles; xy [V, 2], nearness [V] and attributes [V, 10] (normal, place, share of light, share of key
    light) of the vertices; kinds [F]; texture [R, R, 8] linear colour, gloss, tilt of the normal, spare; detail
    [D, D, 3] tileable tilts and mottle; eyes [2, 12]; middle [4] the plane between the eyes; turn [3, 3] the head's
    axes in the world; lids [2, 26, 2]; plain_linear [2, 3] colours of frames and of cloth. The readable twin is in
    tests/synth/rich/twins.py.
    """
    height, width = ids.shape
    eye_out = np.zeros(8)
    value = np.zeros(10)
    n_texels, n_detail = texture.shape[0], detail.shape[0]
    for row in range(height):
        py = row + 0.5
        for column in range(width):
            f = ids[row, column]
            if f < 0:
                continue
            px = column + 0.5
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            ax, ay = xy[a, 0] - px, xy[a, 1] - py
            bx, by = xy[b, 0] - px, xy[b, 1] - py
            cx, cy = xy[c, 0] - px, xy[c, 1] - py
            wa = (bx * cy - by * cx) * nearness[a]
            wb = (cx * ay - cy * ax) * nearness[b]
            wc = (ax * by - ay * bx) * nearness[c]
            total = wa + wb + wc
            wa, wb, wc = wa / total, wb / total, wc / total
            for k in range(10):
                value[k] = wa * attributes[a, k] + wb * attributes[b, k] + wc * attributes[c, k]
            size = np.sqrt(value[0] ** 2 + value[1] ** 2 + value[2] ** 2) + 1e-12
            nx, ny, nz = value[0] / size, value[1] / size, value[2] / size
            vx, vy, vz = viewer[0] - value[3], viewer[1] - value[4], viewer[2] - value[5]
            size = np.sqrt(vx * vx + vy * vy + vz * vz)
            vx, vy, vz = vx / size, vy / size, vz / size
            kind = kinds[f]
            sx, sy, sz = nx, ny, nz
            occlusion = 1.0
            wet = 0.0
            if kind == EYEBALL:
                eye = 0 if value[3] * middle[0] + value[4] * middle[1] + value[5] * middle[2] > middle[3] else 1
                _eye_color(eyes[eye], turn, eye_picture, lids[eye], value[3], value[4], value[5], eye_out)
                red, green, blue, gloss = eye_out[0], eye_out[1], eye_out[2], 1.0
                nx, ny, nz = eye_out[3], eye_out[4], eye_out[5]
                occlusion = eye_out[6]
                wet = 1 - _step(abs(eye_out[7] - 0.05), 0.0, 0.045)
            elif kind == FRAME or kind == CLOTH:
                own = kind - FRAME
                red, green, blue = plain_linear[own, 0], plain_linear[own, 1], plain_linear[own, 2]
                gloss = 0.9 if kind == FRAME else 0.0
            else:
                i, j, k = uv_faces[f, 0], uv_faces[f, 1], uv_faces[f, 2]
                u = wa * uvs[i, 0] + wb * uvs[j, 0] + wc * uvs[k, 0]
                v = wa * uvs[i, 1] + wb * uvs[j, 1] + wc * uvs[k, 1]
                y = min(max((1 - v) * n_texels - 0.5, 0.0), n_texels - 1.001)
                x = min(max(u * n_texels - 0.5, 0.0), n_texels - 1.001)
                ti, tj = int(y), int(x)
                ty, tx = y - ti, x - tj
                w00, w01, w10, w11 = (1 - ty) * (1 - tx), (1 - ty) * tx, ty * (1 - tx), ty * tx
                for k in range(7):
                    value[k] = (
                        w00 * texture[ti, tj, k]
                        + w01 * texture[ti, tj + 1, k]
                        + w10 * texture[ti + 1, tj, k]
                        + w11 * texture[ti + 1, tj + 1, k]
                    )
                red, green, blue, gloss = value[0], value[1], value[2], value[3]
                bump_x = turn[0, 0] * value[4] + turn[0, 1] * value[5] + turn[0, 2] * value[6]
                bump_y = turn[1, 0] * value[4] + turn[1, 1] * value[5] + turn[1, 2] * value[6]
                bump_z = turn[2, 0] * value[4] + turn[2, 1] * value[5] + turn[2, 2] * value[6]
                if kind == SKIN or kind == EAR:
                    di, dj = int(y * 5.0) % n_detail, int(x * 5.0) % n_detail
                    mottle = 1 + detail_amount * detail[di, dj, 2]
                    red, green, blue = red * mottle, green * mottle, blue * mottle
                    # Two directions along the surface: across the vertical, and the rest.
                    tangent = np.sqrt(nx * nx + nz * nz) + 1e-6
                    rough = detail_amount * (0.4 + gloss)
                    du, dv = rough * detail[di, dj, 0], rough * detail[di, dj, 1]
                    bump_x += (du * nz - dv * nx * ny) / tangent
                    bump_y += dv * tangent
                    bump_z += (-du * nx - dv * nz * ny) / tangent
                nx, ny, nz = nx - bump_x, ny - bump_y, nz - bump_z
                size = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
                nx, ny, nz = nx / size, ny / size, nz / size
            share_r, share_g, share_b = value[6], value[7], value[8]
            if kind < FRAME and kind != EYEBALL:
                share_r = wa * attributes[a, 6] + wb * attributes[b, 6] + wc * attributes[c, 6]
                share_g = wa * attributes[a, 7] + wb * attributes[b, 7] + wc * attributes[c, 7]
                share_b = wa * attributes[a, 8] + wb * attributes[b, 8] + wc * attributes[c, 8]
            key = value[9] * occlusion
            share_r, share_g, share_b = share_r * occlusion, share_g * occlusion, share_b * occlusion
            light_r, light_g, light_b = (
                irradiance(poly, 0, nx, ny, nz),
                irradiance(poly, 1, nx, ny, nz),
                irradiance(poly, 2, nx, ny, nz),
            )
            if kind == SKIN or kind == EAR:
                # Red light travels farthest under the skin: it follows the smooth normal and fills shadows.
                light_r = 0.25 * light_r + 0.75 * irradiance(poly, 0, sx, sy, sz)
                light_g = 0.65 * light_g + 0.35 * irradiance(poly, 1, sx, sy, sz)
                share_r = share_r * (1.30 - 0.30 * share_r)
                share_b = share_b * (0.90 + 0.10 * share_b)
            light_r, light_g, light_b = light_r * share_r, light_g * share_g, light_b * share_b
            hx, hy, hz = vx + key_direction[0], vy + key_direction[1], vz + key_direction[2]
            size = np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-12
            half = max((nx * hx + ny * hy + nz * hz) / size, 0.0)
            facing = min(max(nx * vx + ny * vy + nz * vz, 0.0), 1.0)
            graze = (1 - facing) ** 2
            graze = graze * graze * (1 - facing)
            p16 = half * half
            p16 = p16 * p16
            p16 = p16 * p16
            p16 = p16 * p16
            p64 = p16 * p16
            p64 = p64 * p64
            if kind == EYEBALL:
                mirror = 2 * (nx * vx + ny * vy + nz * vz)
                rx, ry, rz = mirror * nx - vx, mirror * ny - vy, mirror * nz - vz
                along = rx * key_direction[0] + ry * key_direction[1] + rz * key_direction[2]
                spot = _step(along, 0.955, 0.985) * 0.85 * (0.3 + 0.7 * key)
                sky = max(0.05 + 0.06 * ry, 0.0) * (0.4 + graze * 3) * occlusion
                shine_r = spot * key_color[0] * 0.55 + sky * light_r + 0.10 * wet
                shine_g = spot * key_color[1] * 0.55 + sky * light_g + 0.08 * wet
                shine_b = spot * key_color[2] * 0.55 + sky * light_b + 0.08 * wet
            else:
                strength = key * (0.055 * gloss * p16 + 0.16 * gloss * gloss * p64)
                if kind == FRAME or kind == TEETH or kind == TONGUE:
                    strength = key * 0.30 * gloss * p64 * p64
                edge = (0.02 + 0.32 * graze) * gloss
                shine_r = strength * key_color[0] + edge * light_r
                shine_g = strength * key_color[1] + edge * light_g
                shine_b = strength * key_color[2] + edge * light_b
            rgb[row, column, 0] = _encode(curve, red * light_r + shine_r)
            rgb[row, column, 1] = _encode(curve, green * light_g + shine_g)
            rgb[row, column, 2] = _encode(curve, blue * light_b + shine_b)
