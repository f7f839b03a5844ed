"""Readable twins of the kernels that draw: NumPy over all samples, or one hair and one step at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from headforge.synth.rich.reflect import (
    CLOTH,
    CURVE_SIZE,
    EAR,
    EYEBALL,
    FILL,
    FRAME,
    MAX_LINEAR,
    SKIN,
    TEETH,
    TONGUE,
    UNDER_SKIN,
)
from headforge.synth.rich.surface import DETAIL_TEXELS, EYE_MAP_RAD, N_LID_POINTS


def unit(v: np.ndarray) -> np.ndarray:
    return v / (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-12)


def step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def encoded(curve: np.ndarray, linear: np.ndarray) -> np.ndarray:
    return np.interp(linear, np.linspace(0, MAX_LINEAR, CURVE_SIZE), curve)


def light_on(poly: np.ndarray, n: np.ndarray) -> np.ndarray:
    """[P, 3] irradiance at unit normals [P, 3]."""
    x, y, z = n.T
    terms = np.stack([np.ones_like(x), x, y, z, x * y, y * z, x * z, z * z, x * x - y * y], -1)
    return np.maximum(terms @ poly.T, 0.01)


def bilinear(picture: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """[P, C] at places in texels, centres at +0.5."""
    y = np.clip(row - 0.5, 0, picture.shape[0] - 1.001)
    x = np.clip(column - 0.5, 0, picture.shape[1] - 1.001)
    i, j = y.astype(int), x.astype(int)
    b, a = (y - i)[:, None], (x - j)[:, None]
    return (1 - b) * ((1 - a) * picture[i, j] + a * picture[i, j + 1]) + b * (
        (1 - a) * picture[i + 1, j] + a * picture[i + 1, j + 1]
    )


def blocks_of_one_surface(ids: np.ndarray, near: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """[H, W] bool: samples whose 2 x 2 block is shaded once."""
    h, w = ids.shape
    four = ids.reshape(h // 2, 2, w // 2, 2).transpose(0, 2, 1, 3).reshape(h // 2, w // 2, 4)
    depth = near.reshape(h // 2, 2, w // 2, 2).transpose(0, 2, 1, 3).reshape(h // 2, w // 2, 4)
    kind = np.where(four >= 0, kinds[four], -1)
    same = (kind == kind[..., :1]).all(-1) & np.isin(kind[..., 0], (SKIN, CLOTH))
    level = np.abs(depth[..., 0] - depth[..., 3]) < 0.003 * depth[..., 0]
    level &= np.abs(depth[..., 2] - depth[..., 1]) < 0.003 * depth[..., 0]
    return np.repeat(np.repeat(same & level, 2, 0), 2, 1)


def shade_surfaces(s: Mapping[str, np.ndarray]) -> np.ndarray:
    """[H, W, 3] sRGB after laying surfaces under what is drawn; `s` holds the kernel's arguments by name."""
    ids = s["ids"]
    rows, columns = (ids >= 0).nonzero()
    flat = blocks_of_one_surface(ids, s["near"], s["kinds"])[rows, columns]
    centre_row, centre_column = np.where(flat, rows // 2 * 2, rows), np.where(flat, columns // 2 * 2, columns)
    f = ids[centre_row, centre_column]
    at = np.where(flat, 1.0, 0.5)
    pixel = np.stack([centre_column + at, centre_row + at], -1)
    corners = s["faces"][f]
    d = s["xy"][corners].astype(float) - pixel[:, None]
    cross = lambda p, q: p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]  # noqa: E731
    area = np.stack([cross(d[:, (k + 1) % 3], d[:, (k + 2) % 3]) for k in range(3)], -1)
    weights = area * s["nearness"][corners]
    weights /= weights.sum(-1, keepdims=True)
    value = (weights[..., None] * s["attributes"][corners]).sum(1)
    smooth, view, share = unit(value[:, :3]), unit(s["viewer"] - value[:, 3:6]), value[:, 6:10].copy()
    kind = s["kinds"][f]
    n, color, wet = smooth.copy(), np.zeros((len(f), 4)), np.zeros(len(f))
    textured = ~np.isin(kind, (EYEBALL, FRAME, CLOTH))
    n[textured], color[textured] = _textured(s, f[textured], weights[textured], smooth[textured], kind[textured])
    for plain in (FRAME, CLOTH):
        color[kind == plain] = s["plain"][plain - FRAME]
    for eye in range(2):
        is_right = value[:, 3:6] @ s["middle"][:3] <= s["middle"][3]
        here = (kind == EYEBALL) & (is_right == (eye == 1))
        rgb, n[here], occlusion, above = read_eye(s, eye, value[here, 3:6])
        color[here] = np.concatenate([rgb, np.ones((len(rgb), 1))], -1)
        share[here] *= occlusion[:, None]
        wet[here] = 1 - step(np.abs(above - 0.05), 0.0, 0.045)
    out, over = s["rgb"].astype(float), s["alpha"][rows, columns, None]
    shown = encoded(s["curve"], reflected(s, kind, n, smooth, view, color, share, wet))
    out[rows, columns] = over * out[rows, columns] + (1 - over) * shown
    return out


def _textured(
    s: Mapping[str, np.ndarray], f: np.ndarray, weights: np.ndarray, n: np.ndarray, kind: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Tilted normals [P, 3] and colour with gloss [P, 4]."""
    u, v = (weights[..., None] * s["uvs"][s["uv_faces"][f]]).sum(1).T
    size = s["texture"].shape[0]
    texel = bilinear(s["texture"].astype(float), (1 - v) * size, u * size)
    y = np.clip((1 - v) * size - 0.5, 0, size - 1.001)
    x = np.clip(u * size - 0.5, 0, size - 1.001)
    n_tile = s["detail"].shape[0]
    tile = s["detail"][(y * DETAIL_TEXELS).astype(int) % n_tile, (x * DETAIL_TEXELS).astype(int) % n_tile]
    amount = np.where(np.isin(kind, (SKIN, EAR)), s["detail_amount"], 0.0)
    color = texel[:, :4] * np.concatenate(
        [np.repeat(1 + amount[:, None] * tile[:, 2:], 3, 1), np.ones((len(f), 1))], -1
    )
    level = np.stack([n[:, 2], 0 * n[:, 0], -n[:, 0]], -1)
    across = np.hypot(n[:, 0], n[:, 2])[:, None] + 1e-6
    upwards = np.stack([-n[:, 0] * n[:, 1] / across[:, 0], across[:, 0], -n[:, 2] * n[:, 1] / across[:, 0]], -1)
    rough = (amount * (0.4 + color[:, 3]))[:, None]
    tilt = rough * (tile[:, :1] * level / across + tile[:, 1:2] * upwards)
    return unit(n - tilt - texel[:, 4:7] @ s["turn"].T), color


def read_eye(
    s: Mapping[str, np.ndarray], eye: int, p: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Colour [P, 3], normal [P, 3], occlusion [P] and angle over the lower lid [P] of points of an eyeball."""
    centre, axes = s["eyes"][eye, :3], s["eyes"][eye, 3:].reshape(3, 3)
    d = unit(p - centre)
    right, up, ahead = (d @ axes.T).T
    angle, around = np.arccos(np.clip(ahead, -1, 1)), np.arctan2(up, right)
    picture = s["eye_picture"]
    column = (around / (2 * np.pi) + 0.5) * (picture.shape[1] - 1) + 0.5
    color = bilinear(picture.astype(float), angle / EYE_MAP_RAD * picture.shape[0], column)
    normal = unit(d - 0.42 * (1 - step(angle, 0.38, 0.58))[:, None] * axes[2])
    in_head = d @ s["turn"]
    azimuth = np.arctan2(in_head[:, 0], in_head[:, 2])
    elevation = np.arctan2(in_head[:, 1], np.hypot(in_head[:, 0], in_head[:, 2]))
    edges = s["lids"][eye].reshape(2, N_LID_POINTS, 2)
    upper, lower = (np.interp(azimuth, edge[:, 0], edge[:, 1]) for edge in edges)
    occlusion = 0.30 + 0.70 * step(upper - elevation, -0.05, 0.40)
    return color, normal, occlusion * (0.65 + 0.35 * step(elevation - lower, -0.03, 0.16)), elevation - lower


def reflected(s: Mapping[str, np.ndarray], kind: np.ndarray, n: np.ndarray, smooth: np.ndarray, v: np.ndarray,
              color: np.ndarray, share: np.ndarray, wet: np.ndarray) -> np.ndarray:  # fmt: skip
    """[P, 3] linear colour."""
    key = s["key_direction"]
    half = np.clip((n * unit(v + key)).sum(-1), 0, None)
    facing = (n * v).sum(-1)
    graze, gloss = (1 - np.clip(facing, 0, 1)) ** 5, color[:, 3]
    sharp = np.isin(kind, (FRAME, TEETH, TONGUE))
    strength = np.where(sharp, 0.30 * gloss * half**128, 0.055 * gloss * half**16 + 0.16 * gloss**2 * half**64)
    edge = (0.02 + 0.32 * graze) * gloss
    mirrored = 2 * facing[:, None] * n - v
    is_eye = kind == EYEBALL
    strength = np.where(is_eye, 0.47 * step(mirrored @ key, 0.955, 0.985), strength) * share[:, 3]
    edge = np.where(is_eye, np.clip(0.05 + 0.06 * mirrored[:, 1], 0, None) * (0.4 + 3 * graze), edge)[:, None]
    under = np.isin(kind, (SKIN, EAR))[:, None]
    rough, soft = light_on(s["poly"], n), light_on(s["poly"], smooth)
    light = np.where(under, rough + np.array(UNDER_SKIN) * (soft - rough), rough)
    arriving = share[:, :3] * np.where(under, 1 + np.array(FILL) * (1 - share[:, :3]), 1)
    light = light * arriving
    return color[:, :3] * light + strength[:, None] * s["key_color"] + edge * light + 0.08 * wet[:, None]


def average_down(rgb: np.ndarray, alpha: np.ndarray, background: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint8 picture [H, W, 3] and mask [H, W]."""
    h, w = background.shape[:2]
    cover = alpha.reshape(h, 2, w, 2).mean((1, 3))
    color = (rgb * alpha[..., None]).reshape(h, 2, w, 2, 3).mean((1, 3))
    image = color + (1 - cover[..., None]) * background
    return np.floor(np.clip(image * 255 + 0.5, 0, 255)), np.floor(np.clip(cover * 255 + 0.5, 0, 255))


def strand_light(occluders: Mapping[str, np.ndarray], points: np.ndarray, voxel_m: float, low_m: np.ndarray,
                 direction: np.ndarray) -> np.ndarray:  # fmt: skip
    """[P] share of light from one direction that hair lets through to points [P, 3]: 14 steps of a voxel."""
    hair = occluders["hair"]
    thickness = np.zeros(len(points))
    for k in range(14):
        cell = ((points + (0.8 + k) * voxel_m * direction - low_m) / voxel_m).astype(int)
        inside = ((cell >= 0) & (cell < hair.shape)).all(-1)
        thickness[inside] += hair[tuple(cell[inside].T)]
    return np.exp(-thickness)


def hair_color(s: Mapping[str, np.ndarray], i: int) -> np.ndarray:
    """[K, 3] sRGB of the points of hair `i`."""
    p, tone = s["points"][i].astype(float), s["tone"][i]
    tangent = unit(np.gradient(p, axis=0))
    half = unit(unit(s["viewer"] - p) + s["key_direction"])
    along = (tangent * half).sum(-1)
    white = np.clip(1 - (along + 0.08) ** 2, 0, None) ** 64
    tinted = np.clip(1 - (along - 0.13) ** 2, 0, None) ** 8
    shine = s["sheen"][0] * white[:, None] + s["sheen"][1] * tinted[:, None] * tone
    return encoded(s["curve"], s["diffuse"][i] + s["key_share"][i][:, None] * s["key_color"] * shine)


def draw_hairs(s: Mapping[str, np.ndarray], slack: float, hidden: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """near, rgb and alpha after drawing all hairs, one sample wide at most 1.5 samples of width."""
    near, rgb, alpha = (s[name].astype(float).copy() for name in ("near", "rgb", "alpha"))
    height, width = near.shape
    n_points = s["points"].shape[1]
    for i in range(len(s["points"])):
        local = s["points"][i] @ s["view"][:, :3].T + s["view"][:, 3]
        w = 1 / np.maximum(local[:, 2], 0.01)
        x, y = local[:, 0] * w * s["camera"][0] + s["camera"][2], local[:, 1] * w * s["camera"][1] + s["camera"][3]
        colors = hair_color(s, i)
        was_hidden, has_last = True, False
        for k in range(n_points):
            inside = 0 <= x[k] < width and 0 <= y[k] < height
            is_hidden = bool(inside and near[int(y[k]), int(x[k])] > hidden * w[k])
            if not (is_hidden and was_hidden) and k > 0:
                u = (k - 0.5) / (n_points - 1)
                fade = s["opacity"] * (max((1 - u) / s["taper"], 0.15) if u > 1 - s["taper"] else 1.0)
                start = colors[k - 1] if has_last else colors[k]
                steps = int(max(abs(x[k] - x[k - 1]), abs(y[k] - y[k - 1]))) + 1
                for f in (np.arange(steps) + 0.5) / steps:
                    col = int(np.floor(x[k - 1] + f * (x[k] - x[k - 1])))
                    row = int(np.floor(y[k - 1] + f * (y[k] - y[k - 1])))
                    at = (w[k - 1] + f * (w[k] - w[k - 1])) * slack
                    if not (0 <= row < height and 0 <= col < width) or near[row, col] >= at:
                        continue
                    near[row, col] = at
                    own = start + f * (colors[k] - start)
                    new = fade + (1 - fade) * alpha[row, col]
                    rgb[row, col] = (fade * own + (1 - fade) * alpha[row, col] * rgb[row, col]) / new
                    alpha[row, col] = new
            has_last = not (is_hidden and was_hidden)
            was_hidden = is_hidden
    return near, rgb, alpha
