"""Colours of the surfaces that samples see: skin, eyes, mouth, frames of glasses, cloth. One pass over the samples."""

from __future__ import annotations

import numpy as np

from headforge.render.jit import kernel
from headforge.synth.rich.reflect import CLOTH, EAR, EYEBALL, FRAME, SKIN, encode, reflect, smooth_step

EYE_MAP_RAD = 1.4
"""Angle from the pupil that the eye's picture covers."""
N_LID_POINTS = 13
COVERED = 0.985
"""Hair coverage from which on the surface below is not shaded."""
DETAIL_TEXELS = 5.0
"""Texels of the detail tile per texel of the texture."""


@kernel(error_model="numpy")
def shade_surfaces(
    ids, near, xy, nearness, faces, kinds, attributes, uv_faces, uvs, texture, detail, detail_amount, eyes, middle,
    turn, eye_picture, lids, plain, poly, key_direction, key_color, viewer, curve, rgb, alpha,
):  # fmt: skip
    """Lay the surfaces under the drawn picture: `rgb` [H, W, 3] sRGB with the coverage `alpha` [H, W].

    Samples that hair covers are not shaded, blocks of 2 x 2 samples that see one piece of skin or cloth are shaded
    once, as multisampling does. Afterwards every sample that sees a triangle is covered.

    ids [H, W] triangles (H and W even) and near [H, W] their nearness; xy [V, 2], nearness [V] and attributes [V, 10]
    (normal, place, share of light, share of key light) of the vertices; kinds [F]; texture [R, R, 8] linear colour,
    gloss, tilt of the normal, spare; detail [D, D, 3] tileable tilts and mottle; eyes [2, 12]; middle [4] the plane
    between the eyes; turn [3, 3] takes the head's axes to the world's; lids [2, 26, 2]; plain [2, 4] linear colour and
    gloss of frames and of cloth. The readable twin is in tests/synth/rich/twins.py.
    """
    height, width = ids.shape
    weights, value, color, share, eye_out = np.zeros(3), np.zeros(10), np.zeros(4), np.zeros(4), np.zeros(8)
    n, smooth, v, out = np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3)
    for top in range(0, height, 2):
        for left in range(0, width, 2):
            is_flat = _is_one_surface(ids, near, kinds, top, left)
            size, at = (2, 1.0) if is_flat else (1, 0.5)
            for sample in range(1 if is_flat else 4):
                row, column = top + sample // 2, left + sample % 2
                f = ids[row, column]
                if f < 0 or _is_covered(alpha, row, column, size):
                    continue
                _interpolate(faces, f, xy, nearness, attributes, column + at, row + at, weights, value)
                _normalized(value[0], value[1], value[2], n)
                _normalized(viewer[0] - value[3], viewer[1] - value[4], viewer[2] - value[5], v)
                for k in range(3):
                    smooth[k], share[k] = n[k], value[6 + k]
                share[3] = value[9]
                kind, wet = kinds[f], 0.0
                if kind == EYEBALL:
                    is_right = value[3] * middle[0] + value[4] * middle[1] + value[5] * middle[2] <= middle[3]
                    eye = 1 if is_right else 0
                    read_eye(eyes[eye], turn, eye_picture, lids[eye], value[3], value[4], value[5], eye_out)
                    for k in range(3):
                        color[k], n[k] = eye_out[k], eye_out[3 + k]
                    color[3] = 1.0
                    for k in range(4):
                        share[k] *= eye_out[6]
                    wet = 1 - smooth_step(abs(eye_out[7] - 0.05), 0.0, 0.045)
                elif kind == FRAME or kind == CLOTH:
                    for k in range(4):
                        color[k] = plain[kind - FRAME, k]
                else:
                    is_skin = kind == SKIN or kind == EAR
                    amount = detail_amount if is_skin else 0.0
                    read_texture(texture, detail, amount, turn, uvs, uv_faces, f, weights, n, color)
                reflect(kind, n, smooth, v, color, share, wet, poly, key_direction, key_color, out)
                for c in range(3):
                    out[c] = encode(curve, out[c])
                _lay_under(out, row, column, size, rgb, alpha)


@kernel(error_model="numpy", forceinline=True)
def _is_covered(alpha, row, column, size):
    """Return whether hair covers a block of samples; if so, it counts as fully covered."""
    for i in range(row, row + size):
        for j in range(column, column + size):
            if alpha[i, j] < COVERED:
                return False
    for i in range(row, row + size):
        for j in range(column, column + size):
            alpha[i, j] = 1.0
    return True


@kernel(error_model="numpy", forceinline=True)
def _lay_under(color, row, column, size, rgb, alpha):
    for i in range(row, row + size):
        for j in range(column, column + size):
            a = alpha[i, j]
            for c in range(3):
                rgb[i, j, c] = a * rgb[i, j, c] + (1 - a) * color[c]
            alpha[i, j] = 1.0


@kernel(error_model="numpy", forceinline=True)
def _is_one_surface(ids, near, kinds, row, column):
    """Return whether a block of 2 x 2 samples shows one piece of skin or cloth, so that one colour suffices."""
    a, b, c, d = ids[row, column], ids[row, column + 1], ids[row + 1, column], ids[row + 1, column + 1]
    if a < 0 or b < 0 or c < 0 or d < 0:
        return False
    kind = kinds[a]
    if kind != kinds[b] or kind != kinds[c] or kind != kinds[d] or not (kind == SKIN or kind == CLOTH):
        return False
    first, last = near[row, column], near[row + 1, column + 1]
    return abs(first - last) < 0.003 * first and abs(near[row + 1, column] - near[row, column + 1]) < 0.003 * first


@kernel(error_model="numpy", forceinline=True)
def _interpolate(faces, f, xy, nearness, attributes, px, py, weights, value):
    """Write perspective-correct `weights` [3] of triangle `f` at a place in the picture, and the attributes there."""
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    ax, ay = xy[a, 0] - px, xy[a, 1] - py
    bx, by = xy[b, 0] - px, xy[b, 1] - py
    cx, cy = xy[c, 0] - px, xy[c, 1] - py
    weights[0] = (bx * cy - by * cx) * nearness[a]
    weights[1] = (cx * ay - cy * ax) * nearness[b]
    weights[2] = (ax * by - ay * bx) * nearness[c]
    total = weights[0] + weights[1] + weights[2]
    for k in range(3):
        weights[k] /= total
    for k in range(len(value)):
        value[k] = weights[0] * attributes[a, k] + weights[1] * attributes[b, k] + weights[2] * attributes[c, k]


@kernel(error_model="numpy", forceinline=True)
def _normalized(x, y, z, out):
    size = np.sqrt(x * x + y * y + z * z) + 1e-12
    out[0], out[1], out[2] = x / size, y / size, z / size


@kernel(error_model="numpy", forceinline=True)
def read_texture(texture, detail, amount, turn, uvs, uv_faces, f, weights, n, color):
    """Write colour and gloss [4] at a point of triangle `f`, and its normal `n` [3] tilted by bumps."""
    u, v = 0.0, 0.0
    for k in range(3):
        u += weights[k] * uvs[uv_faces[f, k], 0]
        v += weights[k] * uvs[uv_faces[f, k], 1]
    n_texels = texture.shape[0]
    y = min(max((1 - v) * n_texels - 0.5, 0.0), n_texels - 1.001)
    x = min(max(u * n_texels - 0.5, 0.0), n_texels - 1.001)
    i, j = int(y), int(x)
    b, a = y - i, x - j
    tilt_x, tilt_y, tilt_z = 0.0, 0.0, 0.0
    for k in range(4):
        color[k] = 0.0
    for corner in range(4):
        down, right = corner // 2, corner % 2
        w = (b if down else 1 - b) * (a if right else 1 - a)
        for k in range(4):
            color[k] += w * texture[i + down, j + right, k]
        tilt_x += w * texture[i + down, j + right, 4]
        tilt_y += w * texture[i + down, j + right, 5]
        tilt_z += w * texture[i + down, j + right, 6]
    di, dj = int(y * DETAIL_TEXELS) % detail.shape[0], int(x * DETAIL_TEXELS) % detail.shape[1]
    for k in range(3):
        color[k] *= 1 + amount * detail[di, dj, 2]
    # Pores tilt the normal along two directions of the surface: the level one and the one across it.
    across = np.sqrt(n[0] * n[0] + n[2] * n[2]) + 1e-6
    rough = amount * (0.4 + color[3])
    du, dv = rough * detail[di, dj, 0], rough * detail[di, dj, 1]
    x = n[0] - (du * n[2] - dv * n[0] * n[1]) / across
    y = n[1] - dv * across
    z = n[2] - (-du * n[0] - dv * n[2] * n[1]) / across
    _normalized(
        x - (turn[0, 0] * tilt_x + turn[0, 1] * tilt_y + turn[0, 2] * tilt_z),
        y - (turn[1, 0] * tilt_x + turn[1, 1] * tilt_y + turn[1, 2] * tilt_z),
        z - (turn[2, 0] * tilt_x + turn[2, 1] * tilt_y + turn[2, 2] * tilt_z),
        n,
    )


@kernel(error_model="numpy", forceinline=True)
def read_eye(eye, turn, eye_picture, lids, x, y, z, out):
    """Write linear colour, normal, occlusion and height over the lower lid of a point of an eyeball into `out` [8].

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
    dome = 1 - smooth_step(angle, 0.38, 0.58)
    nx, ny, nz = dx - dome * 0.42 * eye[9], dy - dome * 0.42 * eye[10], dz - dome * 0.42 * eye[11]
    size = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
    out[3], out[4], out[5] = nx / size, ny / size, nz / size
    in_head_x = turn[0, 0] * dx + turn[1, 0] * dy + turn[2, 0] * dz
    in_head_y = turn[0, 1] * dx + turn[1, 1] * dy + turn[2, 1] * dz
    in_head_z = turn[0, 2] * dx + turn[1, 2] * dy + turn[2, 2] * dz
    azimuth, elevation = np.arctan2(in_head_x, in_head_z), np.arctan2(in_head_y, np.hypot(in_head_x, in_head_z))
    upper, lower = lid_elevation(lids, 0, azimuth), lid_elevation(lids, N_LID_POINTS, azimuth)
    out[6] = 0.30 + 0.70 * smooth_step(upper - elevation, -0.05, 0.40)
    out[6] *= 0.65 + 0.35 * smooth_step(elevation - lower, -0.03, 0.16)
    out[7] = elevation - lower


@kernel(error_model="numpy", forceinline=True)
def lid_elevation(lids, start, azimuth):
    """Return the elevation of a lid's edge, whose 13 points are ordered by growing azimuth, at an azimuth."""
    first = start
    while first < start + N_LID_POINTS - 2 and lids[first + 1, 0] < azimuth:
        first += 1
    span = lids[first + 1, 0] - lids[first, 0]
    t = 0.0 if abs(span) < 1e-6 else min(max((azimuth - lids[first, 0]) / span, 0.0), 1.0)
    return lids[first, 1] + t * (lids[first + 1, 1] - lids[first, 1])


@kernel(error_model="numpy", forceinline=True)
def _bilinear(texture, row, column, c):
    """Return channel `c` of a texture [R, R, C] at a place in texels, centres at +0.5, the edge repeated."""
    n_rows, n_columns = texture.shape[0], texture.shape[1]
    y = min(max(row - 0.5, 0.0), n_rows - 1.001)
    x = min(max(column - 0.5, 0.0), n_columns - 1.001)
    i, j = int(y), int(x)
    a, b = y - i, x - j
    top = texture[i, j, c] * (1 - b) + texture[i, j + 1, c] * b
    low = texture[i + 1, j, c] * (1 - b) + texture[i + 1, j + 1, c] * b
    return top * (1 - a) + low * a
