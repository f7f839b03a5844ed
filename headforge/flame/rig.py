"""Joints and skinning weights for a head that has none, and regressors of the joints."""

from __future__ import annotations

import numpy as np

from headforge.flame.model import JOINTS

ROOT, NECK, JAW, LEFT_EYE, RIGHT_EYE = range(len(JOINTS))
_HINGE_SOFTNESS_M = 0.002
"""Points that an opening jaw moves less than this get little weight: they lie on the hinge."""
_OFF_THE_SPHERE = 0.06
"""Largest deviation of an eyeball from a sphere, as a share of the radius; points farther off are another part."""
_NECK_UNDER_CHIN_M = 0.01
_NECK_BEHIND_JAW_M = 0.04
"""Place of the neck joint (base of the skull): below the chin's height, behind the jaw's hinge."""


def regressor_row(vertices: np.ndarray, ids: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Return the most even weights [V] over the vertices `ids` that sum to 1 and give `joint` [3] exactly."""
    system = np.concatenate([vertices[ids].T, np.ones((1, len(ids)))])
    even = np.full(len(ids), 1 / len(ids))
    row = np.zeros(len(vertices))
    row[ids] = even + np.linalg.pinv(system) @ (np.append(joint, 1.0) - system @ even)
    return row


def rigid_motion(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least-squares rotation [3, 3] and translation [3] from `source` [N, 3] to `target` (Kabsch 1976)."""
    a, b = source.mean(0), target.mean(0)
    u, _, vt = np.linalg.svd((target - b).T @ (source - a))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ flip @ vt
    return rotation, b - rotation @ a


def angle_about_x(rotation: np.ndarray) -> float:
    """Return the angle in radians of the turn about x nearest to a rotation [3, 3]; positive opens a jaw."""
    return float(np.arctan2(rotation[2, 1] - rotation[1, 2], rotation[1, 1] + rotation[2, 2]))


def hinge(angle: float, translation: np.ndarray) -> np.ndarray:
    """Return the fixed point [3] in the plane x = 0 of a turn by `angle` about x, then `translation` [3]."""
    c, s = np.cos(angle), np.sin(angle)
    about_x = np.array([[c, -s], [s, c]])
    y, z = np.linalg.solve(np.eye(2) - about_x, translation[1:])
    return np.array([0.0, y, z])


def jaw_weights(vertices: np.ndarray, displacement: np.ndarray, joint: np.ndarray, angle: float) -> np.ndarray:
    """Return [V] in [0, 1]: each vertex's share of the jaw's turn about `joint`.

    With it, turning the jaw by `angle` about x moves each vertex by the part of `displacement` [V, 3] (the shape of an
    open jaw) that lies along the turn: linear blend skinning moves a vertex by its weight times the rigid motion.
    """
    c, s = np.cos(angle), np.sin(angle)
    arm = vertices - joint
    rigid = arm @ np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]]).T - arm
    along = (displacement * rigid).sum(-1) / ((rigid**2).sum(-1) + _HINGE_SOFTNESS_M**2)
    return np.clip(along, 0, 1)


def sphere(points: np.ndarray, n_rounds: int = 5) -> tuple[np.ndarray, float]:
    """Return centre [3] and radius of the sphere through `points` [N, 3], without outliers (a cornea, an iris)."""
    kept = np.ones(len(points), bool)
    centre, radius = points.mean(0), 0.0
    for _ in range(n_rounds):
        system = np.concatenate([2 * points[kept], np.ones((kept.sum(), 1))], axis=1)
        solution = np.linalg.lstsq(system, (points[kept] ** 2).sum(-1), rcond=None)[0]
        centre = solution[:3]
        radius = float(np.sqrt(solution[3] + centre @ centre))
        off = np.abs(np.linalg.norm(points - centre, axis=-1) - radius)
        kept = off <= max(_OFF_THE_SPHERE * radius, 2 * float(np.median(off)))
    return centre, radius


def neck_joints(jaw: np.ndarray, chin: np.ndarray, lowest_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Return root [3] and neck [3] joints from the jaw's hinge, the chin and the height at which the mesh ends."""
    height = chin[1] - _NECK_UNDER_CHIN_M
    depth = jaw[2] - _NECK_BEHIND_JAW_M
    return np.array([0.0, (height + lowest_m) / 2, depth]), np.array([0.0, height, depth])


def skin_weights(
    vertices: np.ndarray, jaw: np.ndarray, root: np.ndarray, neck: np.ndarray, eyeballs: dict[int, np.ndarray]
) -> np.ndarray:
    """Return [V, 5], rows sum to 1: the jaw's share, the rest neck to root by height, eyeballs (joint: ids) whole."""
    low = 2 * root[1] - neck[1]
    t = np.clip((neck[1] - vertices[:, 1]) / (neck[1] - low), 0, 1)
    still = t * t * (3 - 2 * t)
    weights = np.zeros((len(vertices), len(JOINTS)))
    weights[:, JAW] = jaw * (1 - still)
    weights[:, ROOT] = still
    weights[:, NECK] = 1 - weights.sum(-1)
    for joint, ids in eyeballs.items():
        weights[ids] = 0
        weights[ids, joint] = 1
    return weights
