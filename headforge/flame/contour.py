"""Dynamic jaw lines for head models without one, and the yaw sign of those that have one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headforge.flame.landmarks import (
    N_CONTOUR_BINS,
    bin_yaw_deg,
    contour_bin,
    frontal_embedding,
    outline_points,
    vertex_embedding,
)

N_JAW_LINE = 17
CHIN = 8
FULL_TURN_DEG = 15.0
"""Below this yaw the points move from the jaw line of the frontal view to the outline, so that neither jumps."""
_FOLLOWS_OUTLINE = np.array([1, 1, 1, 1, 1, 1, 0.7, 0.3])
"""Share by which the points from the ear to beside the chin move to the outline: the chin has its own features."""
_INSET = 0.004
"""Inset of a point from the outline, in face widths; on the very edge no triangle would be hit."""

Embedding = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class _Surface:
    """Candidates for the outline."""

    vertices: np.ndarray
    """[V, 3], of the whole head."""
    faces: np.ndarray
    """[C, 3] candidate triangles."""
    edges: np.ndarray
    """[E, 2] their edges, each once."""


def dynamic_contour(
    vertices: np.ndarray, faces: np.ndarray, candidates: np.ndarray, jaw_line: Embedding
) -> tuple[np.ndarray, np.ndarray]:
    """Return triangles [79, 17] and barycentrics [79, 17, 3] of the jaw line, one row for each bin of `contour_bin`.

    `jaw_line` is that of the frontal view (row 0), from the subject's right to the left; `candidates` are the ids of
    the triangles of the face without ears and neck. On the near side a turned head shows the jaw itself; on the far
    side the points slide to the face's outline (a camera at a positive yaw sees the subject's left: its far side is
    the right one).
    """
    local = faces[candidates]
    edges = np.unique(np.sort(local[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    surface = _Surface(vertices, local, edges)
    points = np.einsum("nk,nkc->nc", jaw_line[1], vertices[faces[jaw_line[0]]])
    rows = [_row(surface, jaw_line, points, bin_yaw_deg(k)) for k in range(N_CONTOUR_BINS)]
    picked = np.stack([row[0] for row in rows])
    weights = np.stack([row[1] for row in rows])
    is_local = np.stack([row[2] for row in rows])
    return np.where(is_local, candidates[np.where(is_local, picked, 0)], picked), weights


def _row(
    surface: _Surface, jaw_line: Embedding, points: np.ndarray, yaw_deg: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return one row: triangles [17], barycentrics and which of the triangles are rows of the candidates."""
    picked, weights = jaw_line[0].copy(), jaw_line[1].copy()
    is_local = np.zeros(N_JAW_LINE, bool)
    if yaw_deg:
        far = np.arange(CHIN) if yaw_deg > 0 else np.arange(N_JAW_LINE - 1, CHIN, -1)
        picked[far], weights[far] = _far_side(surface, points, far, yaw_deg)
        is_local[far] = True
    return picked, weights, is_local


def _far_side(surface: _Surface, points: np.ndarray, far: np.ndarray, yaw_deg: float) -> Embedding:
    vertices, edges = surface.vertices, surface.edges
    turn = np.array(_turn(yaw_deg))
    width = np.linalg.norm(points[-1] - points[0])
    centre = np.array([0.0, points[[2, 14], 1].mean(), points[[2, 14], 2].mean()])
    start, chin = (points - centre)[far, :2], (points - centre)[CHIN]
    angles = np.unwrap(np.arctan2(start[:, 1], start[:, 0]))
    share = np.linspace(0, 1, CHIN + 1)[:-1]
    seen = chin @ turn
    swing = np.arctan2(seen[1], seen[0]) - np.arctan2(chin[1], chin[0])
    # The chin and the rays beside it turn with the head, the ray to the ear doesn't (measured with dlib on
    # renderings of ICT-FaceKit's model: at 30 degrees 0.0, 0.2, 0.3, 0.5, 0.5, 0.6, 0.6, 0.9 of the chin's turn).
    angles = angles + swing * share
    hit, along = outline_points(vertices, edges, yaw_deg, centre, angles)
    outline = vertices[edges[hit, 0]] + along[:, None] * (vertices[edges[hit, 1]] - vertices[edges[hit, 0]])
    turned = (vertices - centre) @ turn
    inwards = -np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    target = ((outline - centre) @ turn)[:, :2] + _INSET * width * inwards
    jaw = ((points[far] - centre) @ turn)[:, :2]
    amount = (_smooth(abs(yaw_deg) / FULL_TURN_DEG) * _FOLLOWS_OUTLINE)[:, None]
    return _seen_at(turned, surface.faces, jaw + amount * (target - jaw))


def _seen_at(turned: np.ndarray, local: np.ndarray, places: np.ndarray) -> Embedding:
    """Return the surface at `places` [N, 2], or the nearest projected vertex where there is none."""
    picked, weights = frontal_embedding(turned, local, places)
    found = np.einsum("nk,nkc->nc", weights, turned[local[picked], :2])
    missed = np.linalg.norm(found - places, axis=-1) > 1e-6
    if missed.any():
        ids = np.unique(local)
        nearest = np.linalg.norm(turned[ids, :2] - places[missed, None], axis=-1).argmin(-1)
        picked[missed], weights[missed] = vertex_embedding(local, ids[nearest])
    return picked, weights


def _turn(yaw_deg: float) -> list[list[float]]:
    """Return the matrix from row vectors to the axes of a camera at azimuth `yaw_deg`: right, up, towards it."""
    c, s = np.cos(np.deg2rad(yaw_deg)), np.sin(np.deg2rad(yaw_deg))
    return [[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]


def _smooth(x: float) -> float:
    t = min(max(x, 0.0), 1.0)
    return t * t * (3 - 2 * t)


def contour_turns_our_way(vertices: np.ndarray, faces: np.ndarray, contour: Embedding, yaw_deg: int = 30) -> bool:
    """Return whether rows 1 to 39 of a contour [79, 17] are for cameras on the subject's left, as in `contour_bin`.

    Loaders of FLAME's own embedding disagree about the sign, so it is measured: from such a camera the points of the
    far (right) half must reach farther out than those of the opposite row.
    """
    right = np.array([np.cos(np.deg2rad(yaw_deg)), 0.0, -np.sin(np.deg2rad(yaw_deg))])
    reach = []
    for row in (contour_bin(yaw_deg), contour_bin(-yaw_deg)):
        corners = vertices[faces[contour[0][row, :CHIN]]]
        reach.append(float((np.einsum("nk,nkc->nc", contour[1][row, :CHIN], corners) @ -right).mean()))
    return reach[0] > reach[1]


def mirrored_rows(contour: Embedding) -> Embedding:
    """Return the same contour with the rows of left and right turns exchanged."""
    order = np.concatenate([[0], np.arange(40, N_CONTOUR_BINS), np.arange(1, 40)])
    return contour[0][order], contour[1][order]
