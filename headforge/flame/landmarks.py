"""Placement of iBUG landmarks on a head: mesh points seen from the front, and the jaw line of a turned head."""

from __future__ import annotations

import numpy as np

N_CONTOUR_BINS = 79
"""Yaw bins of a dynamic jaw line: 0 to 39 degrees, then -1 to -39 (FLAME's layout)."""
MAX_CONTOUR_YAW_DEG = 39


def contour_bin(yaw_deg: float) -> int:
    """Return the row of the dynamic contour for a camera at azimuth `yaw_deg`, positive towards the head's left."""
    angle = round(max(-MAX_CONTOUR_YAW_DEG, min(MAX_CONTOUR_YAW_DEG, yaw_deg)))
    return angle if angle >= 0 else MAX_CONTOUR_YAW_DEG - angle


def bin_yaw_deg(index: int) -> int:
    """Return the azimuth in degrees that row `index` of a dynamic contour is made for; inverse of `contour_bin`."""
    return index if index <= MAX_CONTOUR_YAW_DEG else MAX_CONTOUR_YAW_DEG - index


def frontal_embedding(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return triangles [N] and barycentrics [N, 3] of the frontmost surface points at `points` [N, 2] (x, y)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = _cross(b - a, c - a)
    p = points[:, None, :]
    weights = np.stack([_cross(b[:, :2] - p, c[:, :2] - p), _cross(c[:, :2] - p, a[:, :2] - p),
                        _cross(a[:, :2] - p, b[:, :2] - p)], -1)  # fmt: skip
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = weights / area[None, :, None]
    hit = (area > 1e-12) & (weights.min(-1) >= -1e-9)
    depth = np.where(hit, np.einsum("nfk,fk->nf", weights, np.stack([a[:, 2], b[:, 2], c[:, 2]], -1)), -np.inf)
    best = depth.argmax(1)
    barycentrics = np.clip(weights[np.arange(len(points)), best], 0, None)
    return best, barycentrics / barycentrics.sum(-1, keepdims=True)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the z component of the cross product of the first two coordinates."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def vertex_embedding(faces: np.ndarray, vertex_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return triangles [N] that have the given vertices as a corner, and the one-hot barycentrics [N, 3]."""
    hits = [np.argwhere(faces == v)[0] for v in vertex_ids]
    face_ids = np.array([h[0] for h in hits])
    barycentrics = np.zeros((len(hits), 3))
    barycentrics[np.arange(len(hits)), [h[1] for h in hits]] = 1
    return face_ids, barycentrics


def outline_points(
    vertices: np.ndarray, edges: np.ndarray, yaw_deg: float, centre: np.ndarray, angles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return where rays leave the outline of mesh edges, seen by an orthographic camera at azimuth `yaw_deg`.

    The rays start at the projection of `centre` [3] at `angles` [N] (radians, 0 towards the image's right, pi/2 up).
    Returns the crossed edge [N] and how far along it, in [0, 1]; -1 for a ray that crosses none.
    """
    yaw = np.deg2rad(yaw_deg)
    right = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    flat = np.stack([(vertices - centre) @ right, vertices[:, 1] - centre[1]], -1)
    a, b = flat[edges[:, 0]], flat[edges[:, 1]]
    ids, places = np.full(len(angles), -1), np.zeros(len(angles))
    for n, angle in enumerate(angles):
        along, normal = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        da, db = a @ normal, b @ normal
        crosses = (da * db <= 0) & (da != db)
        t = np.where(crosses, da / np.where(crosses, da - db, 1), 0)
        reach = np.where(crosses, (a + t[:, None] * (b - a)) @ along, -np.inf)
        best = int(reach.argmax())
        if reach[best] > 0:
            ids[n], places[n] = best, t[best]
    return ids, places
