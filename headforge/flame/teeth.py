"""The teeth that VHAP and GaussianAvatars append to FLAME: 120 vertices, 168 triangles.

Eight rows of 15 vertices that follow the outer rings of the lips from the subject's left to the right: upper root,
lower root, upper edge, lower edge, and behind the front upper root, upper edge, lower root, lower edge. Vertices,
triangles and texture coordinates are in the order of VHAP's exports, so that files bound to them fit.
"""

from __future__ import annotations

import numpy as np

N_COLUMNS = 15
N_VERTICES = 8 * N_COLUMNS
UPPER_LIP_RING = (1713, 1715, 1716, 1735, 1696, 1694, 1657, 3543, 2774, 2811, 2813, 2850, 2833, 2832, 2830)
LOWER_LIP_RING = (1576, 1577, 1773, 1774, 1795, 1802, 1865, 3503, 2948, 2905, 2898, 2881, 2880, 2713, 2712)
"""Vertices of FLAME's 5023, the subject's left to right."""
_MIDDLE = N_COLUMNS // 2
_UPPER_ROOT, _LOWER_ROOT, _UPPER_EDGE, _LOWER_EDGE = 0, 15, 30, 45
_UPPER_ROOT_BACK, _UPPER_EDGE_BACK, _LOWER_ROOT_BACK, _LOWER_EDGE_BACK = 60, 75, 90, 105
UPPER_ROWS = (_UPPER_ROOT, _UPPER_EDGE, _UPPER_ROOT_BACK, _UPPER_EDGE_BACK)
LOWER_ROWS = (_LOWER_ROOT, _LOWER_EDGE, _LOWER_ROOT_BACK, _LOWER_EDGE_BACK)
"""First vertices of the rows that move with the neck and with the jaw."""
_UV_LEVELS = (3, 2, 0, 1, 3, 4, 6, 5)
"""Index of each vertex row's height among seven in the texture."""


def teeth_vertices(upper_lip: np.ndarray, lower_lip: np.ndarray) -> np.ndarray:
    """Return [120, 3] metres behind the lip rings [15, 3] at rest; the sizes follow the lips' mean distance."""
    distance = np.linalg.norm(upper_lip - lower_lip, axis=-1).mean()
    up, back = np.array([0.0, distance, 0.0]), np.array([0.0, 0.0, -distance])
    middle = (upper_lip + lower_lip) / 2
    middle[:, 1] = middle[:, 1].mean()
    middle += 1.5 * back
    upper_edge = middle + 0.1 * up
    upper_root = upper_edge + 2 * up
    lower_edge = middle - 0.1 * up + 0.4 * back
    lower_root = lower_edge - 2 * up
    front = [upper_root, lower_root, upper_edge, lower_edge]
    behind = [row + back for row in (upper_root, upper_edge, lower_root, lower_edge)]
    return np.concatenate(front + behind)


def teeth_faces() -> np.ndarray:
    """Return triangles [168, 3]: upper front, back and biting edge, then the lower ones; counter-clockwise from
    outside.
    """
    parts = [
        _strip(_UPPER_ROOT, _UPPER_EDGE, falling_first=True),
        np.roll(_strip(_UPPER_EDGE_BACK, _UPPER_ROOT_BACK, falling_first=False), 1, axis=1),
        np.roll(_strip(_UPPER_EDGE, _UPPER_EDGE_BACK, falling_first=True), 1, axis=1),
        _strip(_LOWER_EDGE, _LOWER_ROOT, falling_first=False),
        _strip(_LOWER_ROOT_BACK, _LOWER_EDGE_BACK, falling_first=True),
        _strip(_LOWER_EDGE_BACK, _LOWER_EDGE, falling_first=False),
    ]
    return np.concatenate(parts)


def _strip(p: int, q: int, *, falling_first: bool) -> np.ndarray:
    """Return triangles [28, 3] between the rows that start at `p` and `q`; diagonals mirror about the middle."""
    faces = []
    for i in range(N_COLUMNS - 1):
        if (i < _MIDDLE) == falling_first:
            faces += [(p + i, q + i + 1, q + i), (p + i, p + i + 1, q + i + 1)]
        else:
            faces += [(p + i, p + i + 1, q + i), (p + i + 1, q + i + 1, q + i)]
    return np.array(faces)


def teeth_uvs() -> np.ndarray:
    """Return [120, 2], one per vertex, in the free top of FLAME's chart; rows of the two jaws share heights."""
    u = np.linspace(0.62, 0.38, N_COLUMNS)
    v = np.linspace(1 - 0.0083, 1 - 0.0425, 7)[list(_UV_LEVELS)]
    return np.stack(np.broadcast_arrays(u[None], v[:, None]), axis=-1).reshape(-1, 2)


def row_vertices(rows: tuple[int, ...]) -> np.ndarray:
    """Return the ids, of the 120, of the vertices in `rows` (`UPPER_ROWS` or `LOWER_ROWS`)."""
    return np.concatenate([row + np.arange(N_COLUMNS) for row in rows])
