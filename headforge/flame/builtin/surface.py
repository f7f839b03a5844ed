"""The skin of the builtin head: a quad grid drawn onto the signed distance field of `field`.

The grid runs in meridians from the crown to the neck; its rows bend under the chin, so the jaw line and the underside
of the chin are sampled as well as the cheeks. It is cut along the eyelids and between the lips. Everything in this file
is in millimetres.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.interpolate import PchipInterpolator

from headforge.flame.builtin.field import EYE_CENTRE, LID_RADIUS, gradient, head_distance, project

N_HALF_COLUMNS = 36
N_COLUMNS = 2 * N_HALF_COLUMNS
BROW_ROW, EYE_ROW, NOSE_TIP_ROW, NOSE_BASE_ROW, MOUTH_ROW, CHIN_ROW, LAST_ROW = 17, 22, 30, 34, 41, 53, 68
EYE_COLUMNS = (5, 17)
"""Columns (from the middle) of the inner and outer corner of the eye."""
MOUTH_COLUMN = 11
"""Column of the corner of the mouth."""
_MERIDIAN_KEYS = np.array(
    # row, front y z, side x y z, back y z
    [
        [0, 131, -6, 0, 131, -6, 131, -6],
        [1, 130.5, 4, 10, 130.5, -6, 130.5, -16],
        [5, 118, 53, 48, 114, -8, 115, -60],
        [9, 91, 84, 69, 86, -10, 86, -91],
        [13, 62, 95, 76, 58, -10, 56, -103],
        [17, 36, 99, 76, 36, -8, 30, -100],
        [22, 16, 97, 74, 15, -6, 5, -92],
        [30, -12, 119, 72, -9, -4, -22, -80],
        [34, -28, 104, 68, -24, -3, -38, -74],
        [41, -51, 101, 61, -44, -3, -58, -72],
        [47, -69, 95, 56, -58, -6, -75, -73],
        [53, -97, 94, 53, -73, -10, -92, -76],
        [58, -105, 55, 54, -93, -16, -108, -79],
        [61, -122, 36, 55, -116, -22, -122, -82],
        [65, -150, 36, 66, -148, -30, -148, -88],
        [68, -184, 46, 102, -178, -36, -180, -98],
    ]
)
"""Rough meridians of the head that the grid starts from before it is projected onto the field."""


@dataclass(frozen=True)
class Skin:
    """The cut grid: N vertices in mm with their place in the grid."""

    vertices: np.ndarray
    """[N, 3]."""
    faces: np.ndarray
    """[F, 3], counter-clockwise from outside."""
    rows: np.ndarray
    """[N] grid row."""
    columns: np.ndarray
    """[N] signed grid column, 0 in the middle of the face, positive on the subject's left, 36 at the back."""
    side: np.ndarray
    """[N] +1 upper edge of a cut, -1 lower edge, 0 elsewhere."""
    upper_lip: np.ndarray
    """[23] the cut's upper edge from the subject's right corner to the left one; corners are shared."""
    lower_lip: np.ndarray
    """[23]."""
    upper_lids: np.ndarray
    """[2, 13] left then right eye, from the inner corner to the outer one."""
    lower_lids: np.ndarray
    """[2, 13]."""
    grid: np.ndarray
    """[69, 73] vertex ids for columns -36..36 (lower edges on the cut rows); the first row is the crown."""

    def lid_loop(self, eye: int) -> np.ndarray:
        """Return the edge [24] of an eye's opening: the upper lid outwards, the lower one back."""
        return np.concatenate([self.upper_lids[eye], self.lower_lids[eye][-2:0:-1]])

    def lip_loop(self) -> np.ndarray:
        """Return the edge [44] between the lips: the upper one to the subject's left, the lower one back."""
        return np.concatenate([self.upper_lip, self.lower_lip[-2:0:-1]])


def column_angles() -> np.ndarray:
    """Return the azimuths [37] in radians of the columns of one half, dense over the face."""
    keys = PchipInterpolator([0, 5, 11, 17, 22, 27, 36], [0, 0.222, 0.445, 0.665, 1.08, 1.75, np.pi])
    return keys(np.arange(N_HALF_COLUMNS + 1))


def _guide(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return start positions [N, 3] from the rough meridians."""
    keys = PchipInterpolator(_MERIDIAN_KEYS[:, 0], _MERIDIAN_KEYS[:, 1:])(rows)
    front_y, front_z, side_x, side_y, side_z, back_y, back_z = keys.T
    angle = np.sign(columns) * column_angles()[np.abs(columns)]
    c, s = np.cos(angle), np.sin(angle)
    is_front = c >= 0
    end_y, end_z = np.where(is_front, front_y, back_y), np.where(is_front, front_z, back_z)
    blend = np.abs(c) ** 1.5
    return np.stack([side_x * s, side_y + (end_y - side_y) * blend, side_z + (end_z - side_z) * np.abs(c)], -1)


def _topology() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, columns, sides, quads [Q, 4] (separate on both sides of the cuts) and both grids of vertex ids."""
    upper = np.zeros((LAST_ROW + 1, N_COLUMNS + 1), int)
    columns = np.arange(-N_HALF_COLUMNS, N_HALF_COLUMNS + 1)
    rows_out, columns_out, side_out = [0], [0], [0]
    for r in range(1, LAST_ROW + 1):
        for i, c in enumerate(columns[:-1]):
            upper[r, i] = len(rows_out)
            rows_out.append(r)
            columns_out.append(int(c))
            side_out.append(0)
        upper[r, -1] = upper[r, 0]
    lower = upper.copy()
    for i, c in enumerate(columns):
        for row, is_cut in (
            (EYE_ROW, EYE_COLUMNS[0] < abs(c) < EYE_COLUMNS[1]),
            (MOUTH_ROW, abs(c) < MOUTH_COLUMN),
        ):
            if is_cut:
                side_out[upper[row, i]] = 1
                lower[row, i] = len(rows_out)
                rows_out.append(row)
                columns_out.append(int(c))
                side_out.append(-1)
    quads = np.stack([lower[:-1, :-1], upper[1:, :-1], upper[1:, 1:], lower[:-1, 1:]], -1).reshape(-1, 4)
    return np.array(rows_out), np.array(columns_out), np.array(side_out), quads, upper, lower


def _triangulate(quads: np.ndarray, columns: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """Return two triangles per quad, split along diagonals that mirror about the middle; the crown's are triangles.

    With `labels` [Q, 4] the triangles' corners carry those instead of the vertex ids.
    """
    is_left = (columns[quads[:, 2]] > 0)[:, None]
    order = np.where(is_left[..., None], np.array([[0, 1, 2], [0, 2, 3]]), np.array([[0, 1, 3], [1, 2, 3]]))
    faces = np.take_along_axis(quads[:, None, :], order, 2).reshape(-1, 3)
    is_flat = (faces[:, 0] == faces[:, 1]) | (faces[:, 1] == faces[:, 2]) | (faces[:, 0] == faces[:, 2])
    shown = faces if labels is None else np.take_along_axis(labels[:, None, :], order, 2).reshape(-1, 3)
    return shown[~is_flat]


def lid_curves(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the left eye's upper and lower lid edges [n, 3], inner to outer corner, on a sphere about the eyeball."""
    t = np.linspace(0, 1, n)
    x = 16.8 + (45.0 - 16.8) * t
    corner_y = 13.2 + 2.6 * t
    arch = np.sin(np.pi * t)
    upper = corner_y + 5.7 * arch**0.75 * (1.12 - 0.24 * t)
    lower = corner_y - 4.5 * arch**0.9 * (0.85 + 0.3 * t)
    return _on_lid_sphere(x, upper), _on_lid_sphere(x, lower)


def _on_lid_sphere(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return points at (x, y) on the lids' sphere; beyond its rim they slide along a tangent, as the corners do."""
    dx, dy = x - EYE_CENTRE[0], y - EYE_CENTRE[1]
    flat = np.hypot(dx, dy) / LID_RADIUS
    depth = np.where(flat < 0.8, np.sqrt(np.maximum(1 - flat**2, 0)), 0.6 - (flat - 0.8) * 1.1)
    return np.stack([x, y, EYE_CENTRE[2] + LID_RADIUS * depth], -1)


def lip_line(n: int) -> np.ndarray:
    """Return the line [n, 3] where the lips meet, from the subject's right corner to the left."""
    x = np.linspace(-1, 1, n)
    y = (
        -51.3
        - 0.8 * np.abs(x) ** 3
        + 0.9 * np.exp(-(((np.abs(x) - 0.35) / 0.2) ** 2))
        - 0.6 * np.exp(-((x / 0.15) ** 2))
    )
    return _inset(np.stack([25.0 * x, y, np.full(n, 100.0)], -1), 0.5 + 1.3 * (1 - x**2))


def _inset(points: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Move `points` [N, 3] along z to `depth` [N] behind the front of the face."""
    low, high = points.copy(), points.copy()
    low[:, 2], high[:, 2] = 60, 135
    for _ in range(16):
        middle = (low + high) / 2
        is_inside = (head_distance(middle) < 0)[:, None]
        low, high = np.where(is_inside, middle, low), np.where(is_inside, high, middle)
    return low - depth[:, None] * np.array([0, 0, 1.0])


def build_skin() -> Skin:
    """Draw the grid onto the field."""
    rows, columns, side, quads, upper, lower = _topology()
    vertices = _guide(rows, columns)
    faces = _triangulate(quads, columns)
    mid = N_HALF_COLUMNS
    mouth = np.arange(mid - MOUTH_COLUMN, mid + MOUTH_COLUMN + 1)
    left = np.arange(mid + EYE_COLUMNS[0], mid + EYE_COLUMNS[1] + 1)
    right = 2 * mid - left
    skin = Skin(
        vertices, faces, rows, columns, side, upper[MOUTH_ROW, mouth], lower[MOUTH_ROW, mouth],
        np.stack([upper[EYE_ROW, left], upper[EYE_ROW, right]]),
        np.stack([lower[EYE_ROW, left], lower[EYE_ROW, right]]), lower,
    )  # fmt: skip
    pins = _pins(skin)
    vertices = _relax(project(vertices, 6), skin, pins, quads)
    return Skin(vertices, *(getattr(skin, n) for n in list(Skin.__dataclass_fields__)[1:]))


def _pins(skin: Skin) -> dict[int, np.ndarray]:
    """Return vertices with a fixed place: the edges of the lids and the lips' line."""
    pins: dict[int, np.ndarray] = {}
    mirror = np.array([-1.0, 1, 1])
    curves = lid_curves(skin.upper_lids.shape[1])
    for ids, curve in zip((skin.upper_lids, skin.lower_lids), curves, strict=True):
        for eye, sign in enumerate((np.ones(3), mirror)):
            pins |= {int(v): p * sign for v, p in zip(ids[eye], curve, strict=True)}
    line = lip_line(len(skin.upper_lip))
    for ids in (skin.upper_lip, skin.lower_lip):
        pins |= {int(v): p for v, p in zip(ids, line, strict=True)}
    return pins


def neighbour_mean(quads: np.ndarray, n: int) -> sparse.csr_matrix:
    """Return the [n, n] matrix that averages each vertex's neighbours along the grid's edges."""
    edges = np.concatenate([quads[:, [k, (k + 1) % 4]] for k in range(4)])
    edges = edges[edges[:, 0] != edges[:, 1]]
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    i, j = np.concatenate([edges, edges[:, ::-1]]).T
    adjacency = sparse.csr_matrix((np.ones(len(i)), (i, j)), (n, n))
    return sparse.diags(1 / np.asarray(adjacency.sum(1)).ravel()) @ adjacency


def _relax(vertices: np.ndarray, skin: Skin, pins: dict[int, np.ndarray], quads: np.ndarray) -> np.ndarray:
    """Even out the grid along the surface around the pinned edges, staying on the field."""
    average = neighbour_mean(quads, len(vertices))
    ids, places = np.array(list(pins)), np.array(list(pins.values()))
    bottom = skin.rows == LAST_ROW
    vertices = vertices.copy()
    for step in range(24):
        vertices[ids] = places
        move = average @ vertices - vertices
        normal = gradient(vertices)
        move -= (move * normal).sum(-1, keepdims=True) * normal
        move[bottom] = 0
        vertices += 0.6 * move
        if step % 2:
            vertices -= np.clip(head_distance(vertices), -6, 6)[:, None] * normal
    vertices = project(vertices, 3)
    vertices[ids] = places
    return vertices


def chart_faces() -> np.ndarray:
    """Return the corners [F, 3] of the skin's triangles in a [69, 73] grid of texture coordinates, in face order."""
    _, columns, _, quads, *_ = _topology()
    flat = np.arange((LAST_ROW + 1) * (N_COLUMNS + 1)).reshape(LAST_ROW + 1, N_COLUMNS + 1)
    uv_quads = np.stack([flat[:-1, :-1], flat[1:, :-1], flat[1:, 1:], flat[:-1, 1:]], -1).reshape(-1, 4)
    return _triangulate(quads, columns, uv_quads)


def hairline_height(points: np.ndarray) -> np.ndarray:
    """Return the height [N] in mm of skin points above the hairline; negative on the face and the neck."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    azimuth = np.arctan2(x, z + 5)
    keys = PchipInterpolator(
        [0.0, 0.35, 0.62, 0.85, 1.1, 1.32, 1.5, 1.75, 2.2, np.pi], [88, 86, 78, 61, 44, 4, 27, 2, -48, -60]
    )
    return y - keys(azimuth)


def lid_followers(skin: Skin, eye: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how far each skin vertex follows an eye's upper [N] and lower [N] lid, and its shut position [N, 3]."""
    upper_edge, lower_edge = skin.vertices[skin.upper_lids[eye]], skin.vertices[skin.lower_lids[eye]]
    sign = 1.0 if eye == 0 else -1.0
    centre = EYE_CENTRE * np.array([sign, 1, 1])
    meet = upper_edge * 0.22 + lower_edge * 0.78
    d = meet - centre
    inner = slice(1, -1)
    meet[inner] = centre + d[inner] / np.linalg.norm(d[inner], axis=-1, keepdims=True) * (LID_RADIUS + 0.15)
    n = len(skin.rows)
    upper, lower, target = np.zeros(n), np.zeros(n), skin.vertices.copy()
    k = np.clip(skin.columns * sign - EYE_COLUMNS[0], 0, EYE_COLUMNS[1] - EYE_COLUMNS[0]).astype(int)
    inside = (skin.columns * sign > EYE_COLUMNS[0]) & (skin.columns * sign < EYE_COLUMNS[1])
    for reach, rows_away, weight, edge in (
        (5, EYE_ROW - skin.rows, upper, upper_edge),
        (4, skin.rows - EYE_ROW, lower, lower_edge),
    ):
        is_edge = (rows_away == 0) & (skin.side == (1 if weight is upper else -1))
        follows = inside & ((rows_away > 0) & (rows_away < reach) | is_edge)
        t = rows_away[follows] / reach
        weight[follows] = (1 - t) ** 2 * (1 + t) if weight is lower else 1 - t**1.4
        target[follows] = skin.vertices[follows] + meet[k[follows]] - edge[k[follows]]
    return upper, lower, target


def lip_followers(skin: Skin, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how far vertices follow the upper and the lower lip, [n] each, for a mesh that starts with the skin."""
    upper, lower = np.zeros(n), np.zeros(n)
    p = skin.vertices
    ends = np.clip(1 - (np.abs(p[:, 0]) / 27) ** 2, 0, 1) ** 0.6
    away = np.abs(skin.rows - MOUTH_ROW)
    fall = np.clip(1 - (away / 6.5) ** 2, 0, 1) ** 2 * (p[:, 2] > 70)
    is_upper = (skin.rows < MOUTH_ROW) | ((skin.rows == MOUTH_ROW) & (skin.side > 0))
    is_lower = (skin.rows > MOUTH_ROW) | ((skin.rows == MOUTH_ROW) & (skin.side < 0))
    upper[: len(p)] = fall * ends * is_upper
    lower[: len(p)] = fall * ends * is_lower
    return upper, lower


def chart_ids(skin: Skin) -> np.ndarray:
    """Return the place [N] of each skin vertex in the grid of texture coordinates of `chart_faces`."""
    return skin.rows * (N_COLUMNS + 1) + skin.columns + N_HALF_COLUMNS


@functools.cache
def lid_edges() -> tuple[np.ndarray, np.ndarray]:
    """Return vertex ids [2, 13] of the upper and the lower lids' edges: left then right eye, inner to outer corner."""
    *_, upper, lower = _topology()
    left = np.arange(N_HALF_COLUMNS + EYE_COLUMNS[0], N_HALF_COLUMNS + EYE_COLUMNS[1] + 1)
    columns = np.stack([left, 2 * N_HALF_COLUMNS - left])
    return upper[EYE_ROW, columns], lower[EYE_ROW, columns]


@functools.cache
def lip_middle() -> tuple[int, int]:
    """Return vertex ids of the middle of the upper and of the lower lip's inner edge."""
    *_, upper, lower = _topology()
    return int(upper[MOUTH_ROW, N_HALF_COLUMNS]), int(lower[MOUTH_ROW, N_HALF_COLUMNS])


@functools.cache
def skin_grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows [N] and signed columns [N] of the skin's vertices, which come first, and its faces [F, 3]."""
    rows, columns, _, quads, *_ = _topology()
    return rows, columns, _triangulate(quads, columns)
