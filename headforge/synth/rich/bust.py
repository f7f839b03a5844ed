"""Shoulders under the head model, which ends at the collar: rings that widen and leave the picture."""

from __future__ import annotations

import functools

import numpy as np

from headforge.flame.builtin.head import builtin_head
from headforge.flame.builtin.surface import LAST_ROW, skin_grid

_RINGS_MM = np.array(
    [[4.0, -12.0, 4.0], [16.0, -26.0, 10.0], [26.0, -52.0, 16.0], [30.0, -110.0, 18.0], [30.0, -230.0, 18.0]]
)
"""Offset of each ring from the head model's last one: outwards to the sides, up, and outwards to front and back."""


@functools.cache
def bust_topology() -> tuple[np.ndarray, np.ndarray]:
    """Return ids [72] of the head's last vertex ring in order, and faces [f, 3] of it and the rings added after V."""
    rows, columns, _ = skin_grid()
    ring = np.flatnonzero(rows == LAST_ROW)
    ring = ring[np.argsort(columns[ring])]
    n, start = len(ring), builtin_head().n_vertices
    ids = np.concatenate([ring[None], start + np.arange(len(_RINGS_MM) * n).reshape(-1, n)])
    a, b, c, d = ids[:-1], np.roll(ids, -1, 1)[:-1], np.roll(ids, -1, 1)[1:], ids[1:]
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)])
    return ring, np.ascontiguousarray(faces)


def bust_vertices(ring: np.ndarray) -> np.ndarray:
    """Return the added rings [5 * 72, 3] float32 metres under the head's last one [72, 3]."""
    centre = ring.mean(0)
    outwards = ring - centre
    outwards[:, 1] = 0
    outwards /= np.linalg.norm(outwards, axis=-1, keepdims=True)
    rings = ring[None] + _RINGS_MM[:, None] * 1e-3 * np.concatenate(
        [outwards[:, :1], np.ones((len(ring), 1)), outwards[:, 2:]], -1
    )
    return rings.reshape(-1, 3).astype(np.float32)
