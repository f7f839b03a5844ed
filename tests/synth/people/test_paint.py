"""The painted texture's kernels against NumPy."""

from __future__ import annotations

import numpy as np

from headforge.synth.people.paint import RESOLUTION, texel_noise, texture_map


def test_noise_is_bilinear_between_its_cells() -> None:
    across, down = 37, 21
    cells = np.random.default_rng(3).normal(size=(down, across)).astype(np.float32)
    cells = np.concatenate([cells, cells[:, :1]], 1)
    rows, columns = np.linspace(0, down - 1, RESOLUTION), np.linspace(0, across, RESOLUTION)
    i, j = np.minimum(rows.astype(int), down - 2)[:, None], np.minimum(columns.astype(int), across - 1)[None]
    a, b = (rows[:, None] - i).astype(np.float32), (columns[None] - j).astype(np.float32)
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
    upper = cells[i, j] * (1 - b) + cells[i, j + 1] * b
    lower = cells[i + 1, j] * (1 - b) + cells[i + 1, j + 1] * b
    assert np.array_equal(texel_noise(np.random.default_rng(3), across, down), upper * (1 - a) + lower * a)


def test_unused_texels_take_the_nearest_used_one() -> None:
    maps = texture_map()
    used = maps.part >= 0
    rows, columns = np.indices(used.shape)
    places = np.stack([rows, columns], -1)
    filled = maps.filled(places)
    assert np.array_equal(filled[used], places[used])
    assert used[filled[..., 0], filled[..., 1]].all()
    row, column = np.argwhere(~used)[1234]
    nearest = np.sqrt(((np.argwhere(used) - [row, column]) ** 2).sum(-1).min())
    assert np.linalg.norm(filled[row, column] - [row, column]) == nearest
