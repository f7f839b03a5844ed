"""The 68 iBUG landmarks of the builtin head, where a dlib detector marks them on a photo."""

from __future__ import annotations

import numpy as np

from headforge.flame.builtin.surface import BROW_ROW, CHIN_ROW, Skin
from headforge.flame.landmarks import N_CONTOUR_BINS, bin_yaw_deg, frontal_embedding, outline_points, vertex_embedding

_BROW_MM = ((11.0, 37.0), (21.2, 41.2), (33.0, 43.5), (45.5, 41.2), (54.5, 32.0))
"""x and y of the left brow's points, inner to outer."""
_BRIDGE_MM = ((0.0, 19.5), (0.0, 7.7), (0.0, -3.4), (0.0, -14.2))
_NOSTRILS_MM = ((-12.0, -26.0), (-6.0, -27.6), (0.0, -28.8), (6.0, -27.6), (12.0, -26.0))
_UPPER_LIP_MM = ((-15.0, -45.8), (-6.5, -43.2), (0.0, -44.6), (6.5, -43.2), (15.0, -45.8))
_LOWER_LIP_MM = ((15.0, -58.8), (7.5, -61.6), (0.0, -62.4), (-7.5, -61.6), (-15.0, -58.8))
_CHIN = 8
"""Landmark in the middle of the chin; a half of the jaw line runs from beside the eye (0) to it."""
_MANDIBLE_MM = ((17.5, 15.0), (-2.0, 13.0), (-20.3, 12.0), (-40.5, 12.0), (-59.0, 27.0), (-75.8, 34.0))
"""y and z of the left jaw line's first points as seen from the side: down in front of the ear, along the mandible."""
_JAW_CENTRE_MM = np.array([0.0, -12.0, 40.0])
_JAW_ANGLES_RAD = np.deg2rad([23.0, 8.2, -7.4, -25.0, -39.0, -53.5, -65.5, -77.8, -89.9])
"""Rays from the middle of the face to its left outline, from beside the eye to the chin; exactly -90 would run along
the middle edges of the grid."""
_CHIN_INSET_MM = 3.0
"""Inset from the outline at which the detector marks the last two points (measured on 28 renderings)."""
_EDGE_INSET_MM = 1.0
"""The same for the point beside them: brings it from the rear of the jaw's edge, which a front view foreshortens, to
the middle between its neighbours."""
_FAR_INSET_MM = 2.5
"""Additional inset of the last points before the chin on the far side of a head turned by 30 degrees, where the
underside of the jaw is seen behind it."""

Embedding = tuple[np.ndarray, np.ndarray]


def embed_landmarks(skin: Skin) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return triangles [68], barycentrics [68, 3] and the dynamic jaw line's [79, 17] and [79, 17, 3]."""
    near, mirror = _near_half(skin), _Mirror(skin)
    jaws = [_jaw_line(skin, near, mirror, bin_yaw_deg(i)) for i in range(N_CONTOUR_BINS)]
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


def _jaw_line(skin: Skin, near: Embedding, mirror: _Mirror, yaw_deg: float) -> Embedding:
    """Return the 17 jaw points for a camera at `yaw_deg`: the outline on the far side, the jaw on the near side."""
    far = near if yaw_deg == 0 else _far_half(skin, -abs(yaw_deg), near)
    left, right = (far, near) if yaw_deg < 0 else (near, far)
    right = mirror(right)
    faces = np.concatenate([right[0][:_CHIN], left[0][::-1]])
    return faces, np.concatenate([right[1][:_CHIN], left[1][::-1]])


def _near_half(skin: Skin) -> Embedding:
    """Return the left half [9] for a camera in front or on the left: along the mandible, then the chin's edge."""
    seen_from_left = np.stack([-skin.vertices[:, 2], skin.vertices[:, 1], skin.vertices[:, 0]], -1)
    y, z = np.array(_MANDIBLE_MM).T
    side = frontal_embedding(seen_from_left, skin.faces, np.stack([-z, y], -1))
    chin = _outline(skin, 0.0, _JAW_ANGLES_RAD[len(y) :])
    places = _places(skin, chin)[:, :2] + np.array(
        [[0.0, _EDGE_INSET_MM], [0.0, _CHIN_INSET_MM], [0.0, _CHIN_INSET_MM]]
    )
    places[-1, 0] = 0
    return _joined(side, frontal_embedding(skin.vertices, skin.faces, places))


def _far_half(skin: Skin, yaw_deg: float, near: Embedding) -> Embedding:
    """Return the left half [9] for a camera on the right, `yaw_deg` < 0: the face's outline, the chin as in `near`."""
    c, s = np.cos(np.deg2rad(yaw_deg)), np.sin(np.deg2rad(yaw_deg))
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    chin = (_places(skin, near)[_CHIN] - _JAW_CENTRE_MM) @ turn
    share = (_JAW_ANGLES_RAD - _JAW_ANGLES_RAD[0]) / (_JAW_ANGLES_RAD[-1] - _JAW_ANGLES_RAD[0])
    # The chin and the rays beside it turn with the head, those to the cheek hardly do.
    angles = _JAW_ANGLES_RAD + (np.arctan2(chin[1], chin[0]) - _JAW_ANGLES_RAD[-1]) * share**3
    outline = _outline(skin, yaw_deg, angles)
    beside = slice(_CHIN - 2, _CHIN)
    inwards = -np.stack([np.cos(angles[beside]), np.sin(angles[beside])], -1)
    reach = np.array([[0.0], [_CHIN_INSET_MM]]) + _FAR_INSET_MM * abs(yaw_deg) / 30
    places = (_places(skin, outline) @ turn)[beside, :2] + reach * inwards
    inset = frontal_embedding(skin.vertices @ turn, skin.faces, places)
    return _joined(_part(outline, slice(_CHIN - 2)), inset, _part(near, slice(_CHIN, None)))


def _part(embedding: Embedding, rows: slice) -> Embedding:
    return embedding[0][rows], embedding[1][rows]


def _joined(*parts: Embedding) -> Embedding:
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _places(skin: Skin, embedding: Embedding) -> np.ndarray:
    return np.einsum("nk,nkc->nc", embedding[1], skin.vertices[skin.faces[embedding[0]]])


def _outline(skin: Skin, yaw_deg: float, angles: np.ndarray) -> Embedding:
    """Return where rays from the middle of the face leave the outline of its left half."""
    is_candidate = (
        (skin.rows >= BROW_ROW - 2) & (skin.rows <= CHIN_ROW + 1) & (skin.vertices[:, 2] > 12) & (skin.columns >= 0)
    )
    ids = np.flatnonzero(is_candidate[skin.faces].all(-1))
    corners = np.concatenate([np.stack([ids, np.full_like(ids, k)], -1) for k in range(3)])
    edges = np.stack([skin.faces[corners[:, 0], corners[:, 1]], skin.faces[corners[:, 0], (corners[:, 1] + 1) % 3]], -1)
    hit, t = outline_points(skin.vertices, edges, yaw_deg, _JAW_CENTRE_MM, angles)
    barycentrics = np.zeros((len(hit), 3))
    n = np.arange(len(hit))
    barycentrics[n, corners[hit, 1]] = 1 - t
    barycentrics[n, (corners[hit, 1] + 1) % 3] = t
    return corners[hit, 0], barycentrics


class _Mirror:
    """Mirrors points: the grid's triangles are symmetric about its middle."""

    def __init__(self, skin: Skin) -> None:
        self._skin = skin
        self._place = {key: i for i, key in enumerate(zip(skin.rows, skin.columns, skin.side, strict=True))}
        self._triangle = {frozenset(face): i for i, face in enumerate(skin.faces.tolist())}

    def __call__(self, embedding: Embedding) -> Embedding:
        skin = self._skin
        faces, barycentrics = np.zeros_like(embedding[0]), np.zeros_like(embedding[1])
        for n, (face, weights) in enumerate(zip(*embedding, strict=True)):
            corners = [self._place[skin.rows[v], -skin.columns[v], skin.side[v]] for v in skin.faces[face]]
            faces[n] = self._triangle[frozenset(corners)]
            order = skin.faces[faces[n]].tolist()
            barycentrics[n, [order.index(v) for v in corners]] = weights
        return faces, barycentrics
