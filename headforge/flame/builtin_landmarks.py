"""The 68 iBUG landmarks of the builtin head, where a dlib detector marks them on a photo."""

from __future__ import annotations

import numpy as np

from headforge.flame.builtin_surface import BROW_ROW, CHIN_ROW, Skin
from headforge.flame.landmarks import N_CONTOUR_BINS, bin_yaw_deg, frontal_embedding, outline_points, vertex_embedding

_BROW_MM = ((11.0, 37.0), (20.5, 41.0), (31.0, 43.3), (43.5, 41.5), (52.5, 32.0))
"""x and y of the left brow's points, inner to outer."""
_BRIDGE_MM = ((0.0, 19.5), (0.0, 8.8), (0.0, -2.2), (0.0, -13.5))
_NOSTRILS_MM = ((-12.0, -26.0), (-6.0, -27.6), (0.0, -28.8), (6.0, -27.6), (12.0, -26.0))
_UPPER_LIP_MM = ((-15.0, -45.8), (-6.5, -43.2), (0.0, -44.6), (6.5, -43.2), (15.0, -45.8))
_LOWER_LIP_MM = ((15.0, -58.8), (7.5, -61.6), (0.0, -62.4), (-7.5, -61.6), (-15.0, -58.8))
_JAW_CENTRE_MM = np.array([0.0, -12.0, 40.0])
_JAW_ANGLES_RAD = np.deg2rad([25.0, 10.0, -5.5, -24.5, -37.5, -53.5, -65.5, -77.8, -90.0])
"""Rays from the middle of the face to the left half of its outline, from beside the eye to the chin."""

_CHIN_INSET_MM = 3.0
"""How far above the outline of a frontal face the detector marks the chin (measured on 28 rendered heads)."""

Embedding = tuple[np.ndarray, np.ndarray]


def embed_landmarks(skin: Skin) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Triangles [68], barycentrics [68, 3] and the dynamic jaw line's [79, 17] and [79, 17, 3]."""
    jaws = [_jaw_line(skin, bin_yaw_deg(i)) for i in range(N_CONTOUR_BINS)]
    parts = [jaws[0], *_static(skin)]
    faces = np.concatenate([p[0] for p in parts])
    barycentrics = np.concatenate([p[1] for p in parts])
    return faces, barycentrics, np.stack([j[0] for j in jaws]), np.stack([j[1] for j in jaws])


def _static(skin: Skin) -> list[Embedding]:
    def seen(points: tuple[tuple[float, float], ...]) -> Embedding:
        return frontal_embedding(skin.vertices, skin.faces, np.array(points))

    def at(*ids: int) -> Embedding:
        return vertex_embedding(skin.faces, np.array(ids))

    right_brow = tuple((-x, y) for x, y in reversed(_BROW_MM))
    (ul, ur), (ll, lr) = skin.upper_lids, skin.lower_lids
    up, low = skin.upper_lip, skin.lower_lip
    return [
        seen(right_brow), seen(_BROW_MM), seen(_BRIDGE_MM), seen(_NOSTRILS_MM),
        at(ur[12], ur[8], ur[4], ur[0], lr[4], lr[8]),
        at(ul[0], ul[4], ul[8], ul[12], ll[8], ll[4]),
        at(up[1]), seen(_UPPER_LIP_MM), at(up[21]), seen(_LOWER_LIP_MM),
        at(up[3], up[8], up[11], up[14], up[19], low[14], low[11], low[8]),
    ]  # fmt: skip


def _jaw_line(skin: Skin, yaw_deg: float) -> Embedding:
    """The 17 jaw points for a camera at `yaw_deg`: the outline on the far side, the jaw's own line on the near one."""
    far_left = yaw_deg < 0
    halves = []
    for is_left in (False, True):
        turn = yaw_deg if (is_left == far_left) else 0.0
        halves.append(_half(skin, is_left, turn))
    right, left = halves
    faces = np.concatenate([right[0], left[0][7::-1]])
    barycentrics = np.concatenate([right[1], left[1][7::-1]])
    return faces, barycentrics


def _half(skin: Skin, is_left: bool, yaw_deg: float) -> Embedding:
    is_candidate = (
        (skin.rows >= BROW_ROW - 2)
        & (skin.rows <= CHIN_ROW + 1)
        & (skin.vertices[:, 2] > 12)
        & ((skin.columns >= 0) if is_left else (skin.columns <= 0))
    )
    ids = np.flatnonzero(is_candidate[skin.faces].all(-1))
    corners = np.concatenate([np.stack([ids, np.full_like(ids, k)], -1) for k in range(3)])
    edges = np.stack([skin.faces[corners[:, 0], corners[:, 1]], skin.faces[corners[:, 0], (corners[:, 1] + 1) % 3]], -1)
    angles = _JAW_ANGLES_RAD if is_left else np.pi - _JAW_ANGLES_RAD
    hit, t = outline_points(skin.vertices, edges, yaw_deg, _JAW_CENTRE_MM, angles)
    barycentrics = np.zeros((len(hit), 3))
    n = np.arange(len(hit))
    barycentrics[n, corners[hit, 1]] = 1 - t
    barycentrics[n, (corners[hit, 1] + 1) % 3] = t
    hit_faces = corners[hit, 0]
    if yaw_deg == 0:
        places = np.einsum("nk,nkc->nc", barycentrics, skin.vertices[skin.faces[hit_faces]])[-2:, :2]
        chin = frontal_embedding(skin.vertices, skin.faces, places + np.array([0.0, _CHIN_INSET_MM]))
        hit_faces[-2:], barycentrics[-2:] = chin
    return hit_faces, barycentrics
