"""Joints and skinning weights of the builtin head."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from headforge.flame.builtin.field import EYE_CENTRE
from headforge.flame.builtin.modes import ramp
from headforge.flame.builtin.surface import CHIN_ROW, MOUTH_COLUMN, MOUTH_ROW, Skin

ROOT, NECK, JAW, LEFT_EYE, RIGHT_EYE = range(5)
ROOT_MM, NECK_MM, JAW_MM = (0.0, -150.0, -30.0), (0.0, -95.0, -25.0), (0.0, -6.0, 6.0)
_LIP_LINE_RAD = np.arctan2(-51.3 - JAW_MM[1], 95.0) * -1
"""Angle under the horizontal at which the lips' line lies, seen from the jaw's hinge."""


def skin_weights(skin: Skin, vertices: np.ndarray, parts: dict[str, np.ndarray]) -> np.ndarray:
    """Return [V, 5], rows sum to 1."""
    weights = np.zeros((len(vertices), 5))
    y = vertices[:, 1]
    root = ramp(y, -92, -172)
    jaw = np.zeros(len(vertices))
    jaw[parts["skin"]] = _jaw_weight(skin)
    loop = skin.lip_loop()
    cavity = parts["mouth_interior"]
    for ring, start in enumerate(range(0, len(cavity) - 1, len(loop))):
        fade = (1.0, 1.0, 0.85, 0.6)[ring]
        jaw[cavity[start : start + len(loop)]] = jaw[loop] * fade + 0.3 * (1 - fade)
    jaw[cavity[-1]] = 0.3
    teeth = parts["teeth"]
    jaw[teeth[len(teeth) // 2 :]] = 1
    jaw[parts["tongue"]] = 0.92
    weights[:, JAW] = jaw * (1 - root)
    weights[:, ROOT] = root
    weights[:, NECK] = 1 - weights.sum(-1)
    for joint, name in ((LEFT_EYE, "left_eyeball"), (RIGHT_EYE, "right_eyeball")):
        weights[parts[name]] = 0
        weights[parts[name], joint] = 1
    return weights


def _jaw_weight(skin: Skin) -> np.ndarray:
    """Return [N] on the skin: 1 on the lower lip and chin, 0 on the upper lip, smooth over cheeks and throat."""
    p, rows = skin.vertices, skin.rows
    angle = np.arctan2(JAW_MM[1] - p[:, 1], p[:, 2] - JAW_MM[2])
    is_lower = (rows > MOUTH_ROW) | ((rows == MOUTH_ROW) & (skin.side < 0))
    spread = 0.5 * ramp(np.abs(p[:, 0]), 26.5, 13.0)
    hard = np.where(is_lower, 0.5 + spread, 0.5 - spread)
    soft = ramp(angle, _LIP_LINE_RAD - 0.14, _LIP_LINE_RAD + 0.2)
    away = np.hypot(np.clip(np.abs(rows - MOUTH_ROW) - 2, 0, None) * 2.5, np.clip(np.abs(p[:, 0]) - 18, 0, None))
    outside = ramp(away, 2, 17)
    weight = hard * (1 - outside) + soft * outside
    throat = ramp(rows.astype(float), CHIN_ROW + 8, CHIN_ROW + 1) * ramp(p[:, 2], 2, 34)
    weight = weight * throat
    average = _average(skin)
    pinned = (np.abs(rows - MOUTH_ROW) <= 2) & (np.abs(skin.columns) <= MOUTH_COLUMN)
    fixed = weight[pinned]
    for _ in range(10):
        weight = 0.5 * weight + 0.5 * (average @ weight)
        weight[pinned] = fixed
    return np.clip(weight * 1.04 - 0.02, 0, 1)


def _average(skin: Skin) -> sparse.csr_matrix:
    i = np.concatenate([skin.faces[:, a] for a in (0, 1, 2, 1, 2, 0)])
    j = np.concatenate([skin.faces[:, a] for a in (1, 2, 0, 0, 1, 2)])
    adjacency = sparse.csr_matrix((np.ones(len(i)), (i, j)), (len(skin.rows),) * 2)
    return sparse.csr_matrix(sparse.diags(1 / np.asarray(adjacency.sum(1)).ravel()) @ adjacency)


def joint_regressor(skin: Skin, vertices: np.ndarray, parts: dict[str, np.ndarray]) -> np.ndarray:
    """Return [5, V] weights that sum to 1 over each row and give the joints of the template exactly."""
    rows, columns = skin.rows, np.abs(skin.columns)
    choices = [
        (ROOT_MM, ((rows >= 63) & (rows <= 67)).nonzero()[0]),
        (NECK_MM, ((rows >= 57) & (rows <= 61)).nonzero()[0]),
        (JAW_MM, ((rows >= 26) & (rows <= 40) & (columns >= 22) & (columns <= 27)).nonzero()[0]),
        (tuple(EYE_CENTRE), parts["left_eyeball"]),
        (tuple(EYE_CENTRE * np.array([-1, 1, 1])), parts["right_eyeball"]),
    ]
    regressor = np.zeros((5, len(vertices)))
    for row, (joint, ids) in zip(regressor, choices, strict=True):
        a = np.concatenate([vertices[ids].T, np.ones((1, len(ids)))])
        even = np.full(len(ids), 1 / len(ids))
        wanted = np.append(np.array(joint), 1.0)
        row[ids] = even + np.linalg.pinv(a) @ (wanted - a @ even)
    return regressor
