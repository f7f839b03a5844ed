"""Drawing hairs and lenses over a picture, and averaging the picture down onto its background."""

from __future__ import annotations

import numpy as np

from headforge.render.jit import kernel
from headforge.synth.rich.reflect import encode

NEAR_SLACK = 1.0015
"""Factor on the nearness of a hair, so that hairs on the skin are not half buried in it."""

HIDDEN = 1.003
"""A point of a hair is hidden behind a surface nearer by this factor."""


@kernel(error_model="numpy")
def draw_hairs(
    points, diffuse, key_share, tone, width_m, n_drawn, opacity, taper, view, camera, viewer, key_direction, key_color,
    sheen, curve, near, rgb, alpha,
):  # fmt: skip
    """Draw the first `n_drawn` of the hairs `points` [S, K, 3] into a picture.

    diffuse [S, K, 3] linear colour under matte light; key_share [S, K]; tone [S, 3]; width_m [S]; view [3, 4] from the
    hairs' space to the camera; camera [4] fx fy cx cy; viewer [3] and key_direction [3] in the hairs' space; sheen [2]
    strength of the white and the coloured highlight; near [H, W] nearness (1/z); rgb [H, W, 3]; alpha [H, W]. A hair
    fades out over its last `taper` part. The readable twin is in tests/synth/rich/twins.py.
    """
    height, width = near.shape
    n_points = points.shape[1]
    place = np.empty((3, n_points + 2), np.float32)
    seen, shine, color = np.empty((3, n_points)), np.empty((2, n_points)), np.empty((n_points, 3))
    for s in range(n_drawn):
        _project_hair(points, s, view, camera, place, seen)
        was_hidden, has_color, has_shine = True, False, False
        for k in range(n_points):
            x, y, is_hidden = seen[0, k], seen[1, k], False
            if 0 <= x < width and 0 <= y < height:
                is_hidden = near[int(y), int(x)] > HIDDEN * seen[2, k]
            if is_hidden and was_hidden:
                has_color = False
                continue
            was_hidden = is_hidden
            if not has_shine:
                _shine(place, k, viewer, key_direction, shine)
                has_shine = True
            for c in range(3):
                own = sheen[0] * shine[0, k] + sheen[1] * shine[1, k] * tone[s, c]
                color[k, c] = encode(curve, diffuse[s, k, c] + key_share[s, k] * key_color[c] * own)
            if k > 0:
                fade = opacity
                u = (k - 0.5) / (n_points - 1)
                if u > 1 - taper:
                    fade *= max((1 - u) / taper, 0.15)
                start = k - 1 if has_color else k
                thick = width_m[s] * camera[0] * seen[2, k]
                _draw_segment(seen[0, k - 1], seen[1, k - 1], seen[2, k - 1], x, y, seen[2, k], color[start], color[k],
                              fade, thick, near, rgb, alpha)  # fmt: skip
            has_color = True


@kernel(error_model="numpy", forceinline=True)
def _project_hair(points, s, view, camera, place, seen):
    """Write hair `s` into `place` [3, K + 2], both ends twice; column, row and 1 / depth into `seen` [3, K]."""
    n_points = points.shape[1]
    a0, a1, a2, a3 = view[0, 0], view[0, 1], view[0, 2], view[0, 3]
    b0, b1, b2, b3 = view[1, 0], view[1, 1], view[1, 2], view[1, 3]
    c0, c1, c2, c3 = view[2, 0], view[2, 1], view[2, 2], view[2, 3]
    fx, fy, cx, cy = camera[0], camera[1], camera[2], camera[3]
    for c in range(3):
        place[c, 0], place[c, n_points + 1] = points[s, 0, c], points[s, n_points - 1, c]
    for k in range(n_points):
        x, y, z = points[s, k, 0], points[s, k, 1], points[s, k, 2]
        place[0, k + 1], place[1, k + 1], place[2, k + 1] = x, y, z
        w = 1 / max(c0 * x + c1 * y + c2 * z + c3, 0.01)
        seen[0, k] = (a0 * x + a1 * y + a2 * z + a3) * w * fx + cx
        seen[1, k] = (b0 * x + b1 * y + b2 * z + b3) * w * fy + cy
        seen[2, k] = w


@kernel(error_model="numpy", forceinline=True)
def _shine(place, first, viewer, key_direction, out):
    """Write the white and coloured highlight of a hair's points from `first` on (Marschner et al. 2003, simplified)."""
    ex, ey, ez = viewer[0], viewer[1], viewer[2]
    kx, ky, kz = key_direction[0], key_direction[1], key_direction[2]
    for k in range(first, out.shape[1]):
        tx, ty, tz = place[0, k + 2] - place[0, k], place[1, k + 2] - place[1, k], place[2, k + 2] - place[2, k]
        size = np.sqrt(tx * tx + ty * ty + tz * tz) + 1e-12
        vx, vy, vz = ex - place[0, k + 1], ey - place[1, k + 1], ez - place[2, k + 1]
        distance = np.sqrt(vx * vx + vy * vy + vz * vz)
        hx, hy, hz = vx / distance + kx, vy / distance + ky, vz / distance + kz
        half = np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
        along = (tx * hx + ty * hy + tz * hz) / (size * half)
        # The scales of a hair tilt its first highlight to the root and the one through the hair to the tip.
        white, tinted = max(1 - (along + 0.08) ** 2, 0.0), max(1 - (along - 0.13) ** 2, 0.0)
        for _ in range(6):
            white *= white
        for _ in range(3):
            tinted *= tinted
        out[0, k], out[1, k] = white, tinted


@kernel(error_model="numpy", forceinline=True)
def _draw_segment(x0, y0, w0, x1, y1, w1, color0, color1, fade, thick, near, rgb, alpha):
    height, width = near.shape
    dx, dy = x1 - x0, y1 - y0
    if max(x0, x1) < 0 or min(x0, x1) >= width or max(y0, y1) < 0 or min(y0, y1) >= height:
        return
    n = int(max(abs(dx), abs(dy))) + 1
    if n > 4096:
        return
    is_steep = abs(dy) > abs(dx)
    n_across = 1 if thick < 1.5 else min(int(thick + 0.5), 4)
    for i in range(n):
        f = (i + 0.5) / n
        x, y, w = x0 + f * dx, y0 + f * dy, (w0 + f * (w1 - w0)) * NEAR_SLACK
        for m in range(n_across):
            off = m - 0.5 * (n_across - 1)
            row = int(np.floor(y if is_steep else y + off))
            col = int(np.floor(x + off if is_steep else x))
            if row < 0 or col < 0 or row >= height or col >= width or near[row, col] >= w:
                continue
            near[row, col] = w
            covered = alpha[row, col]
            new = fade + (1 - fade) * covered
            for c in range(3):
                own = color0[c] + f * (color1[c] - color0[c])
                rgb[row, col, c] = (fade * own + (1 - fade) * covered * rgb[row, col, c]) / new
            alpha[row, col] = new


@kernel(error_model="numpy")
def turn_clockwise(xy, faces, out):
    """Write into `out` [F] bool whether triangles [F, 3] of points xy [V, 2] turn clockwise where v points down."""
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, vx, vy = xy[b, 0] - xy[a, 0], xy[b, 1] - xy[a, 1], xy[c, 0] - xy[a, 0], xy[c, 1] - xy[a, 1]
        out[f] = ux * vy - uy * vx < 0


@kernel(error_model="numpy")
def draw_lenses(ids, nearness, tints, glare, near, rgb, alpha):
    """Lay lenses (triangles `ids` [H, W] at `nearness` [H, W]) over a picture: `tints` [F], then `glare` [H, W]."""
    for row in range(ids.shape[0]):
        for col in range(ids.shape[1]):
            f = ids[row, col]
            if f < 0 or nearness[row, col] < near[row, col]:
                continue
            keep = 1 - tints[f]
            covered = alpha[row, col]
            own = 0.06 + 0.94 * tints[f]
            new = own + (1 - own) * covered
            for c in range(3):
                rgb[row, col, c] = (
                    min(rgb[row, col, c] * keep * covered / new + glare[row, col], 1.0)
                    if covered > 0
                    else glare[row, col]
                )
            alpha[row, col] = new


@kernel(error_model="numpy")
def average_down(rgb, alpha, background, image, mask):
    """Average 2 x 2 pixels of `rgb` [2H, 2W, 3] with `alpha` [2H, 2W] over `background` [H, W, 3] to bytes.

    background is float32 sRGB; image [H, W, 3] and mask [H, W] are uint8.
    """
    for row in range(mask.shape[0]):
        for col in range(mask.shape[1]):
            cover, r, g, b = 0.0, 0.0, 0.0, 0.0
            for i in range(2):
                for j in range(2):
                    a = alpha[2 * row + i, 2 * col + j]
                    cover += a
                    r += a * rgb[2 * row + i, 2 * col + j, 0]
                    g += a * rgb[2 * row + i, 2 * col + j, 1]
                    b += a * rgb[2 * row + i, 2 * col + j, 2]
            rest = 1 - 0.25 * cover
            image[row, col, 0] = np.uint8(min((0.25 * r + rest * background[row, col, 0]) * 255 + 0.5, 255.0))
            image[row, col, 1] = np.uint8(min((0.25 * g + rest * background[row, col, 1]) * 255 + 0.5, 255.0))
            image[row, col, 2] = np.uint8(min((0.25 * b + rest * background[row, col, 2]) * 255 + 0.5, 255.0))
            mask[row, col] = np.uint8(min(0.25 * cover * 255 + 0.5, 255.0))
