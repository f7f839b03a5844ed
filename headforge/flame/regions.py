"""Vertex regions of a head that has none of its own: from its 68 landmarks and anthropometric proportions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

_BROWS, _OUTER_LIPS = slice(17, 27), slice(48, 60)
_LIP_MARGIN = 1.15
"""Factor that widens the outline of the outer lip landmarks, which lie on the lips' rim."""
_BELOW_JAW = 0.11
"""Distance from the jaw's landmarks down to the neck, in outer-eye distances."""


def skin_regions(vertices: np.ndarray, skin: np.ndarray, points: np.ndarray) -> dict[str, np.ndarray]:
    """Return vertex ids of face, scalp, neck, lips, nose, forehead, left_ear and right_ear.

    `vertices` [V, 3] at rest, `skin` the ids that may belong to one, `points` [68, 3] the landmarks of the frontal
    view. Face, scalp, neck and the ears share no vertex; lips, nose and forehead lie in the face.
    """
    p = vertices[skin]
    x, y, z = p.T
    unit = float(np.linalg.norm(points[45] - points[36]))
    ear_z = points[[0, 16], 2].mean()
    width = np.abs(points[[0, 16], 0]).mean()
    neck = y < _neck_line(points, unit)(z)
    behind = z < ear_z
    at_ear_height = (y > points[[48, 54], 1].mean()) & (y < points[[36, 45], 1].mean() + 0.07 * unit)
    # In front the ear's root, farther back only what stands out from the skull.
    out = width * (0.93 + 0.14 * np.clip((ear_z - z - 0.3 * unit) / (0.2 * unit), 0, 1))
    ear = behind & at_ear_height & (np.abs(x) > out) & (z > ear_z - 0.65 * unit) & ~neck
    hairline = _hairline(points, unit)
    scalp = ~neck & ~ear & (y > hairline(z))
    face = ~neck & ~ear & ~scalp
    masks = {
        "face": face,
        "scalp": scalp,
        "neck": neck,
        "lips": face & _in_lips(p, points, unit),
        "nose": face & _in_nose(p, points, unit),
        "forehead": face & (y > points[_BROWS, 1].max() + 0.03 * unit),
        "left_ear": ear & (x > 0),
        "right_ear": ear & (x < 0),
    }
    return {name: skin[mask] for name, mask in masks.items()}


def _neck_line(points: np.ndarray, unit: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the height below which skin is neck, as a function of z: from the nape along the jaw to under the chin."""
    chin, angle = points[8], points[[3, 13]].mean(0)
    nape = np.array([points[[48, 54], 1].mean(), angle[2] - 1.4 * unit])
    z = np.array([nape[1], angle[2], chin[2]])
    y = np.array([nape[0], angle[1] - _BELOW_JAW * unit, chin[1] - _BELOW_JAW * unit])
    return lambda depth: np.interp(depth, z, y)


def _hairline(points: np.ndarray, unit: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the height above which skin is scalp, as a function of z: over the forehead, down the temple to the ears.

    The forehead is as high over the brows as the base of the nose lies under them.
    """
    brow, nose = points[_BROWS, 1].mean(), points[33, 1]
    front, ear = points[27, 2], points[[0, 16], 2].mean()
    top = brow + 0.8 * (brow - nose)
    z = np.array([ear - 0.35 * unit, ear + 0.05 * unit, ear + 0.25 * unit, front - 0.4 * unit, front])
    y = np.array([points[33, 1] - unit, points[36, 1], brow + 0.2 * unit, top - 0.1 * unit, top])
    return lambda depth: np.interp(depth, z, y)


def _in_lips(p: np.ndarray, points: np.ndarray, unit: float) -> np.ndarray:
    ring = points[_OUTER_LIPS]
    middle = ring.mean(0)
    outline = middle[:2] + _LIP_MARGIN * (ring[:, :2] - middle[:2])
    near = p[:, 2] > points[[48, 54], 2].mean() - 0.1 * unit
    return near & _in_polygon(p[:, :2], outline)


def _in_nose(p: np.ndarray, points: np.ndarray, unit: float) -> np.ndarray:
    top, base = points[27], points[31:36].mean(0)
    wing = np.abs(points[[31, 35], 0]).mean()
    half_width = np.interp(p[:, 1], [base[1], top[1]], [1.7 * wing, 0.8 * wing])
    inside = (np.abs(p[:, 0]) < half_width) & (p[:, 1] < top[1]) & (p[:, 1] > base[1] - 0.02 * unit)
    return inside & (p[:, 2] > min(base[2], top[2]) - 0.15 * unit)


def _in_polygon(points: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Return which of `points` [N, 2] lie inside the polygon `outline` [K, 2]: odd number of crossings to the right."""
    a, b = outline, np.roll(outline, -1, axis=0)
    x, y = points[:, None, 0], points[:, None, 1]
    straddles = (a[:, 1] > y) != (b[:, 1] > y)
    rise = np.where(straddles, b[:, 1] - a[:, 1], 1.0)
    crossing = a[:, 0] + (y - a[:, 1]) * (b[:, 0] - a[:, 0]) / rise
    return (straddles & (x < crossing)).sum(-1) % 2 == 1


def eyeball_components(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> dict[str, np.ndarray]:
    """Return left_eyeball and right_eyeball: the connected parts of the mesh about the eyes' landmarks, if any.

    A part counts when its box contains the middle of an eye's six landmarks within half that eye's width.
    """
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(vertices),) * 2)
    n_parts, label = connected_components(graph, directed=False)
    found: dict[str, np.ndarray] = {}
    for name, corners in (("right_eyeball", slice(36, 42)), ("left_eyeball", slice(42, 48))):
        middle = points[corners].mean(0)
        width = np.ptp(points[corners, 0])
        for part in range(n_parts):
            ids = np.flatnonzero(label == part)
            middle_of_part = vertices[ids].mean(0)
            if np.abs(middle_of_part - middle).max() < width and np.ptp(vertices[ids], axis=0).max() < 1.5 * width:
                found[name] = ids
    return found
