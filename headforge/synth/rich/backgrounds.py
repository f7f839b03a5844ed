"""Backgrounds of pictures. A function of (seed, subject, camera)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from headforge.render.jit import kernel
from headforge.synth.people.lighting import Light, sphere_directions
from headforge.synth.shots.samplers import item_rng
from headforge.types import Camera

_PANORAMA = (64, 128)
_RUN_PX = 16


def make_panorama(seed: int, subject: int, light: Light) -> np.ndarray:
    """Return out-of-focus surroundings [64, 128, 3] float32 sRGB by elevation (top first) and azimuth.

    Brightness and colour follow the light from each direction; the shapes are independent.
    """
    rng = item_rng(seed, "surroundings", subject)
    rows, columns = _PANORAMA
    elevation = np.pi / 2 - (np.arange(rows) + 0.5) / rows * np.pi
    azimuth = (np.arange(columns) + 0.5) / columns * 2 * np.pi - np.pi
    c, s = np.cos(elevation)[:, None], np.sin(elevation)[:, None]
    directions = np.stack(np.broadcast_arrays(c * np.sin(azimuth), s, c * np.cos(azimuth)), -1)
    lobes = np.clip(directions @ sphere_directions(len(light.radiance)).numpy().T, 0, 1) ** 24
    bright = (lobes @ light.radiance.numpy()) / lobes.sum(-1, keepdims=True)
    hue = rng.uniform(0.5, 1.0, (3, 1)) * (1 + rng.normal(0, 0.08, (3, 3)))
    up = directions[..., 1:2]
    floor = np.where(up > rng.uniform(-0.5, -0.2), hue[1], 0.6 * hue[2])
    walls = np.where(up > rng.uniform(0.0, 0.25), hue[0], floor)
    picture = 0.10 + 0.55 * walls
    for _ in range(26):
        i, j = rng.integers(4, rows - 12), rng.integers(columns)
        h, w = rng.integers(4, 22), rng.integers(3, 18)
        picture[i : i + h, np.arange(j, j + w) % columns] *= rng.uniform(0.35, 1.5) * (1 + rng.normal(0, 0.06, 3))
    picture = ndimage.gaussian_filter1d(picture, 1.6, 0, mode="nearest")
    picture = ndimage.gaussian_filter1d(picture, 1.8, 1, mode="wrap")
    linear = picture**2.2 * (0.25 + 0.75 * bright / bright.mean())
    return np.clip(linear, 0, 1).astype(np.float32) ** np.float32(1 / 2.2)


def draw_background(kind: str, seed: int, subject: int, panorama: np.ndarray | None, camera: Camera) -> np.ndarray:
    """Render the background [H, W, 3] float32 sRGB for an unbatched camera; `panorama` is needed for "surroundings"
    only.
    """
    out = np.ones((camera.height, camera.width, 3), np.float32)
    if kind == "studio":
        rng = item_rng(seed, "studio", subject)
        base = rng.uniform(0.35, 0.92) * (1 + rng.uniform(-0.12, 0.12, 3))
        centre = np.array([rng.uniform(0.3, 0.7), rng.uniform(0.25, 0.55)])
        _vignette(np.clip(base, 0, 1), centre, float(rng.uniform(0.25, 0.6)), out)
    elif kind == "surroundings":
        assert panorama is not None
        rays = np.linalg.inv(camera.K.double().numpy())
        _look_around(panorama, camera.viewmat[:3, :3].double().numpy().T @ rays, out)
    return out


@kernel()
def _vignette(base, centre, fall, out):
    height, width = out.shape[0], out.shape[1]
    for row in range(height):
        for col in range(width):
            d = ((col + 0.5) / width - centre[0]) ** 2 + ((row + 0.5) / height - centre[1]) ** 2
            for c in range(3):
                out[row, col, c] = min(base[c] * (1.08 - fall * d), 1.0)


@kernel(error_model="numpy")
def _panorama_place(to_world, u, v, n_rows, n_columns, out):
    """Write the row and column of a panorama that pixel (u, v) looks at into `out` [2]."""
    x = to_world[0, 0] * u + to_world[0, 1] * v + to_world[0, 2]
    y = to_world[1, 0] * u + to_world[1, 1] * v + to_world[1, 2]
    z = to_world[2, 0] * u + to_world[2, 1] * v + to_world[2, 2]
    out[0] = (0.5 - np.arctan2(y, np.sqrt(x * x + z * z)) / np.pi) * n_rows - 0.5
    out[1] = (np.arctan2(x, z) / (2 * np.pi) + 0.5) * n_columns - 0.5


@kernel(error_model="numpy")
def _look_around(panorama, to_world, out):
    """Fill `out` [H, W, 3]; directions are exact at both ends of runs of 16 pixels and linear between."""
    n_rows, n_columns = panorama.shape[0], panorama.shape[1]
    width = out.shape[1]
    start, end = np.zeros(2), np.zeros(2)
    for row in range(out.shape[0]):
        for first in range(0, width, _RUN_PX):
            _panorama_place(to_world, first + 0.5, row + 0.5, n_rows, n_columns, start)
            _panorama_place(to_world, first + _RUN_PX + 0.5, row + 0.5, n_rows, n_columns, end)
            if abs(end[1] - start[1]) > n_columns / 2:
                end[1] += n_columns if end[1] < start[1] else -n_columns
            for col in range(first, min(first + _RUN_PX, width)):
                t = (col - first) / _RUN_PX
                fy = min(max(start[0] + t * (end[0] - start[0]), 0.0), n_rows - 1.001)
                fx = start[1] + t * (end[1] - start[1])
                i, j = int(fy), int(np.floor(fx))
                a, b = fy - i, fx - j
                j0, j1 = j % n_columns, (j + 1) % n_columns
                for c in range(3):
                    top = panorama[i, j0, c] * (1 - b) + panorama[i, j1, c] * b
                    low = panorama[i + 1, j0, c] * (1 - b) + panorama[i + 1, j1, c] * b
                    out[row, col, c] = top * (1 - a) + low * a
