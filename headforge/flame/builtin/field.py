"""A human head as a signed distance field, in millimetres.

A smooth union of ellipsoids and capsules placed by anthropometric averages: head breadth 152 mm, length 195 mm, menton
to vertex 228 mm, interpupillary distance 63 mm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EYE_CENTRE = np.array([31.5, 15.5, 77.5])
"""Centre of the left eyeball; the right one mirrors it."""
EYE_RADIUS = 12.5
LID_RADIUS = 13.9
"""Distance of the lids' edges from the eyeball's centre: a blink's straight path must stay outside the eyeball."""


def _smooth_min(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Return the polynomial smooth minimum, blended over a width `k`."""
    h = np.clip(0.5 + 0.5 * (b - a) / k, 0, 1)
    return b + (a - b) * h - k * h * (1 - h)


def _ellipsoid(p: np.ndarray, centre: Sequence[float], radii: Sequence[float]) -> np.ndarray:
    """Return the first-order distance to an ellipsoid."""
    d = p - np.asarray(centre)
    r = np.asarray(radii)
    k0 = np.sqrt(((d / r) ** 2).sum(-1))
    k1 = np.sqrt(((d / r**2) ** 2).sum(-1))
    return k0 * (k0 - 1) / np.maximum(k1, 1e-9)


def _capsule(p: np.ndarray, a: Sequence[float], b: Sequence[float], ra: float, rb: float) -> np.ndarray:
    """Return the distance to a segment whose radius runs from `ra` to `rb`."""
    start, along = np.asarray(a, float), np.asarray(b, float) - np.asarray(a, float)
    h = np.clip(((p - start) @ along) / (along @ along), 0, 1)
    return np.linalg.norm(p - start - h[..., None] * along, axis=-1) - (ra + (rb - ra) * h)


def head_distance(points: np.ndarray) -> np.ndarray:
    """Return the approximate signed distance [*] in mm of `points` [*, 3] to the skin; negative inside."""
    q = points.copy()
    q[..., 0] = np.sqrt(points[..., 0] ** 2 + 1.0)
    d = _skull(points, q)
    d = _smooth_min(d, _neck(points, q), 22)
    d = _eyes_and_brow(d, q)
    d = _nose(d, points, q)
    return _mouth(d, points, q)


def _skull(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    d = _ellipsoid(p, (0, 50, -10), (75, 80, 93))
    d = _smooth_min(d, _ellipsoid(p, (0, 46, 22), (65, 62, 73)), 18)
    d = _smooth_min(d, _ellipsoid(p, (0, -8, 32), (58, 62, 58)), 18)
    d = _smooth_min(d, _capsule(q, (60, 4, 26), (39, -7, 66), 8, 14), 22)
    d = _smooth_min(d, _ellipsoid(q, (30, -32, 56), (27, 34, 30)), 20)
    d = _smooth_min(d, _ellipsoid(p, (0, -52, 36), (48, 37, 50)), 18)
    d = _smooth_min(d, _capsule(q, (50, -16, 2), (42, -54, 13), 9, 9.5), 26)
    d = _smooth_min(d, _capsule(q, (42, -54, 13), (14, -82, 74), 9.5, 12.5), 24)
    return _smooth_min(d, _ellipsoid(p, (0, -83, 84), (18, 13.5, 14.5)), 16)


def _neck(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    d = _capsule(p, (0, 10, -28), (0, -230, -34), 50, 54)
    d = _smooth_min(d, _capsule(q, (18, -95, -44), (104, -212, -44), 22, 34), 34)
    d = _smooth_min(d, _capsule(q, (44, -30, -16), (9, -185, 24), 10, 9), 26)
    return _smooth_min(d, _ellipsoid(p, (0, -120, 21), (9, 14, 8)), 16)


def _eyes_and_brow(d: np.ndarray, q: np.ndarray) -> np.ndarray:
    d = _smooth_min(d, _capsule(q, (7, 34, 91), (26, 39, 86.5), 6.5, 6.8), 18)
    d = _smooth_min(d, _capsule(q, (26, 39, 86.5), (49, 33, 66), 6.8, 6.5), 18)
    d = -_smooth_min(-d, _ellipsoid(q, (29, 15, 101), (19, 12, 14)), 16)
    return _smooth_min(d, np.linalg.norm(q - EYE_CENTRE, axis=-1) - LID_RADIUS - 0.4, 7)


def _nose(d: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    nose = _capsule(p, (0, 26, 87), (0, -11, 107.5), 7, 8.5)
    nose = _smooth_min(nose, _capsule(q, (6, 14, 83), (13, -17, 90), 6.5, 9), 12)
    nose = _smooth_min(nose, _ellipsoid(p, (0, -14.5, 110), (11, 9, 10)), 8)
    nose = _smooth_min(nose, _ellipsoid(q, (13, -19.5, 99.5), (6.5, 8, 10)), 6)
    nose = _smooth_min(nose, _capsule(p, (0, -24, 101), (0, -20, 112), 4, 4), 5)
    d = _smooth_min(d, nose, 10)
    return -_smooth_min(-d, _ellipsoid(q, (6.2, -26.5, 104), (3.2, 4.0, 5.5)), 3)


def _mouth(d: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    d = _smooth_min(d, _ellipsoid(p, (0, -46, 68), (31, 30, 33)), 14)
    upper = _smooth_min(_capsule(q, (3.5, -46, 101), (13, -47.5, 97.5), 5, 4.6),
                        _capsule(q, (13, -47.5, 97.5), (25, -51.5, 88), 4.6, 2.5), 3)  # fmt: skip
    lower = _smooth_min(_capsule(q, (0, -57, 99), (11, -56.5, 97), 6, 5.5),
                        _capsule(q, (11, -56.5, 97), (24, -52, 88.5), 5.5, 2.5), 3)  # fmt: skip
    d = _smooth_min(d, upper, 6)
    d = _smooth_min(d, lower, 6)
    d = -_smooth_min(-d, _capsule(p, (0, -31, 109), (0, -40, 110), 3, 3), 5)
    return -_smooth_min(-d, _ellipsoid(p, (0, -67.5, 106), (22, 5, 9)), 9)


def gradient(points: np.ndarray, step: float = 0.2) -> np.ndarray:
    """Return the unit gradient [N, 3] of the field by central differences on a tetrahedron."""
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], float)
    g = sum(c * head_distance(points + step * c)[..., None] for c in corners)
    return g / np.maximum(np.linalg.norm(g, axis=-1, keepdims=True), 1e-9)


def project(points: np.ndarray, n_steps: int) -> np.ndarray:
    """Move `points` [N, 3] down the gradient onto the skin."""
    for _ in range(n_steps):
        points = points - np.clip(head_distance(points), -12, 12)[:, None] * gradient(points)
    return points
