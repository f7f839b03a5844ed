"""The builtin head model: a procedural head in FLAME's format, made by code alone.

Skin, eyeballs, ears, mouth cavity, teeth and tongue in one mesh; named identity and expression modes; jaw, neck and eye
joints; one texture chart for face, scalp and neck with its seam at the back.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headforge.flame.builtin import surface
from headforge.flame.builtin.field import EYE_CENTRE
from headforge.flame.builtin.landmarks import embed_landmarks
from headforge.flame.builtin.modes import (
    EXPRESSION_NAMES,
    IDENTITY_NAMES,
    Places,
    expression_modes,
    identity_modes,
    ramp,
)
from headforge.flame.builtin.parts import Part, ear, eyeball, lid_rims, mouth_cavity, teeth, tongue
from headforge.flame.builtin.rig import joint_regressor, skin_weights
from headforge.flame.builtin.surface import MOUTH_ROW, Skin, build_skin
from headforge.flame.model import HeadModel

MODEL_ID = "headforge-builtin-1"
VERSION = 1
"""Version of the head model's file; raise it with every change of its values."""
SKIN_CHART_BOTTOM = 0.175
"""v below which the texture holds everything but the skin."""
_CHARTS = {
    "left_ear": (0.005, 0.005, 0.165, 0.165),
    "right_ear": (0.170, 0.005, 0.330, 0.165),
    "left_eyeball": (0.335, 0.005, 0.495, 0.165),
    "right_eyeball": (0.500, 0.005, 0.660, 0.165),
    "mouth_interior": (0.665, 0.005, 0.745, 0.165),
    "tongue": (0.750, 0.005, 0.800, 0.165),
    "upper_teeth": (0.805, 0.090, 0.995, 0.165),
    "lower_teeth": (0.805, 0.005, 0.995, 0.080),
}
"""Texture rectangles (u0, v0, u1, v1) of the parts."""


@dataclass(frozen=True)
class Assembly:
    """The whole mesh with the ids of each part's vertices."""

    skin: Skin
    vertices: np.ndarray
    """[V, 3] mm."""
    faces: np.ndarray
    uvs: np.ndarray
    uv_faces: np.ndarray
    parts: dict[str, np.ndarray]
    """Vertex ids by part: skin, left_ear, right_ear, left_eyeball, right_eyeball, mouth_interior, teeth, tongue."""


@functools.cache
def builtin_head() -> HeadModel:
    """Return the builtin head; the same object on every call in a process."""
    mesh = _assemble()
    places = _places(mesh)
    shapedirs = np.concatenate([identity_modes(places), expression_modes(places)], -1) * 1e-3
    weights = skin_weights(mesh.skin, mesh.vertices, mesh.parts)
    landmark_faces, landmark_barycentrics, contour_faces, contour_barycentrics = embed_landmarks(mesh.skin)
    return HeadModel(
        model_id=MODEL_ID,
        v_template=_float(mesh.vertices * 1e-3),
        shapedirs=_float(shapedirs),
        n_shape=len(IDENTITY_NAMES),
        posedirs=torch.zeros(36, mesh.vertices.size),
        joint_regressor=_float(joint_regressor(mesh.skin, mesh.vertices, mesh.parts)),
        skin_weights=_float(weights),
        faces=_int(mesh.faces),
        uvs=_float(mesh.uvs),
        uv_faces=_int(mesh.uv_faces),
        landmark_faces=_int(landmark_faces),
        landmark_barycentrics=_float(landmark_barycentrics),
        contour_faces=_int(contour_faces),
        contour_barycentrics=_float(contour_barycentrics),
        regions=_regions(mesh),
        expression_names=EXPRESSION_NAMES,
    )


def _float(a: np.ndarray) -> Tensor:
    return torch.tensor(a, dtype=torch.float32)


def _int(a: np.ndarray) -> Tensor:
    return torch.tensor(np.ascontiguousarray(a), dtype=torch.int64)


def _assemble() -> Assembly:
    skin = build_skin()
    uvs, uv_faces = _skin_chart(skin)
    vertices, faces, all_uvs, all_uv_faces = [skin.vertices], [skin.faces], [uvs], [uv_faces]
    parts = {"skin": np.arange(len(skin.vertices))}

    def add(name: str, chart: str, new: np.ndarray, f: np.ndarray, uv: np.ndarray, uv_f: np.ndarray) -> None:
        start = sum(map(len, vertices))
        u0, v0, u1, v1 = _CHARTS[chart]
        all_uv_faces.append(uv_f + sum(map(len, all_uvs)))
        all_uvs.append(uv * np.array([u1 - u0, v1 - v0]) + np.array([u0, v0]))
        ids = np.arange(start, start + len(new))
        parts[name] = np.concatenate([parts.get(name, np.zeros(0, int)), ids])
        vertices.append(new)
        faces.append(f)

    def add_part(name: str, chart: str, part: Part) -> None:
        add(name, chart, part.vertices, part.faces + sum(map(len, vertices)), part.uvs, part.uv_faces)

    add("mouth_interior", "mouth_interior", *mouth_cavity(skin))
    rims, rim_faces, rim_sources = lid_rims(skin, sum(map(len, vertices)))
    parts["lid_rims"] = sum(map(len, vertices)) + np.arange(len(rims))
    vertices.append(rims)
    faces.append(rim_faces)
    chart_ids = surface.chart_ids(skin)
    all_uv_faces.append(chart_ids[_without_rims(rim_faces, parts["lid_rims"], rim_sources)])
    add_part("left_ear", "left_ear", ear())
    add_part("right_ear", "right_ear", ear().mirrored())
    add_part("left_eyeball", "left_eyeball", eyeball())
    add_part("right_eyeball", "right_eyeball", eyeball().mirrored())
    add_part("teeth", "upper_teeth", teeth(is_upper=True))
    add_part("teeth", "lower_teeth", teeth(is_upper=False))
    add_part("tongue", "tongue", tongue())
    return Assembly(
        skin, np.concatenate(vertices), np.concatenate(faces), np.concatenate(all_uvs),
        np.concatenate(all_uv_faces), parts,
    )  # fmt: skip


def _without_rims(faces: np.ndarray, rims: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Return the rims' faces with each rim vertex replaced by the skin vertex it copies: they share its texture."""
    lookup = np.arange(rims[-1] + 1)
    lookup[rims] = sources
    return lookup[faces]


def _skin_chart(skin: Skin) -> tuple[np.ndarray, np.ndarray]:
    """Return texture coordinates of the skin: rows and columns spaced by their mean length on the face."""
    grid = skin.vertices[skin.grid]
    across = np.linalg.norm(np.diff(grid, axis=1), axis=-1)[12:52].mean(0)
    down = np.linalg.norm(np.diff(grid, axis=0), axis=-1)
    middle = surface.N_HALF_COLUMNS
    down = 0.5 * down.mean(1) + 0.5 * down[:, middle - 14 : middle + 15].mean(1)
    u = np.concatenate([[0], np.cumsum(across)]) / across.sum()
    v = 1 - np.concatenate([[0], np.cumsum(down)]) / down.sum()
    low, high = 0.005, 0.995
    u = low + (high - low) * u
    v = SKIN_CHART_BOTTOM + (high - SKIN_CHART_BOTTOM) * v
    uvs = np.stack(np.broadcast_arrays(u[None], v[:, None]), -1).reshape(-1, 2)
    return uvs, surface.chart_faces()


def _places(mesh: Assembly) -> Places:
    skin, rest = mesh.skin, mesh.vertices
    n = len(rest)
    anchor = rest.copy()
    lid_upper, lid_lower, target = np.zeros((n, 2)), np.zeros((n, 2)), rest.copy()
    for eye, (name, sign) in enumerate((("left_eyeball", 1.0), ("right_eyeball", -1.0))):
        centre = EYE_CENTRE * np.array([sign, 1, 1])
        anchor[mesh.parts[name]] = centre
        near = ramp(np.linalg.norm(rest - centre, axis=-1), 26, 14)[: len(skin.vertices), None]
        anchor[: len(skin.vertices)] += near * (centre - anchor[: len(skin.vertices)])
        upper, lower, meet = surface.lid_followers(skin, eye)
        ids = np.arange(len(skin.vertices))
        lid_upper[ids, eye], lid_lower[ids, eye] = upper, lower
        moves = (upper + lower) > 0
        target[ids[moves]] = meet[moves]
    is_skin = np.zeros(n)
    is_skin[mesh.parts["skin"]] = 1
    ears = np.zeros(n)
    for name in ("left_ear", "right_ear"):
        is_skin[mesh.parts[name]] = 1
        ears[mesh.parts[name]] = 1
    rims, sources = mesh.parts["lid_rims"], np.concatenate([skin.lid_loop(eye) for eye in range(2)])
    is_skin[rims] = 1
    for values in (anchor, lid_upper, lid_lower):
        values[rims] = values[sources]
    target[rims] = rest[rims] + target[sources] - rest[sources]
    lip_upper, lip_lower = surface.lip_followers(skin, n)
    ring = mesh.parts["mouth_interior"][: 2 * len(skin.upper_lip) - 2]
    loop = skin.lip_loop()
    lip_upper[ring], lip_lower[ring] = lip_upper[loop], lip_lower[loop]
    return Places(rest, anchor, is_skin, lip_upper, lip_lower, ears, lid_upper, lid_lower, target)


def _regions(mesh: Assembly) -> dict[str, Tensor]:
    skin = mesh.skin
    p, r, c = skin.vertices, skin.rows, np.abs(skin.columns)
    hairline = surface.hairline_height(p)
    is_neck = (r > surface.CHIN_ROW + 4) | ((p[:, 1] < -60) & (p[:, 2] < 0))
    is_scalp = (hairline > 0) & ~is_neck
    is_lips = (np.abs(r - MOUTH_ROW) <= 3) & (c <= surface.MOUTH_COLUMN)
    is_nose = (r >= surface.EYE_ROW - 1) & (r <= surface.NOSE_BASE_ROW) & (np.abs(p[:, 0]) < 19) & (p[:, 2] > 88)
    masks = {
        "face": ~is_scalp & ~is_neck & (p[:, 2] > 5),
        "scalp": is_scalp,
        "neck": is_neck,
        "lips": is_lips,
        "nose": is_nose,
        "forehead": ~is_scalp & (r < surface.BROW_ROW - 1) & (p[:, 2] > 30),
    }
    regions = {name: _int(mask.nonzero()[0]) for name, mask in masks.items()}
    return regions | {name: _int(ids) for name, ids in mesh.parts.items() if name != "skin"}
