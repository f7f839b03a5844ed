"""ICT-FaceKit's light model (USC ICT, MIT licence), a folder of OBJ files, as a head model in FLAME's format.

Face, head and neck, sockets, gums, teeth and eyeballs are kept, in metres instead of centimetres. The model has no
joints; jaw, neck, root and eyes are added. Opening the jaw follows the file's own `jawOpen` shape; the eyeballs turn
about the centres of spheres fitted to them. The shapes keep the names of the files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from headforge.errors import InputError
from headforge.flame import rig
from headforge.flame.contour import dynamic_contour
from headforge.flame.files import parameter_digest
from headforge.flame.landmarks import frontal_embedding, vertex_embedding
from headforge.flame.model import HeadModel
from headforge.flame.readers.ict_layout import LIGHT, IctLayout
from headforge.flame.readers.obj import ObjMesh, read_obj, read_obj_vertices, triangulate
from headforge.flame.regions import skin_regions

NEUTRAL_FILE, INDEX_FILE, JAW_OPEN = "generic_neutral_mesh.obj", "vertex_indices.json", "jawOpen"
METRES_PER_UNIT = 0.01
MIN_JAW_OPENING_RAD = 0.02
_IDENTITY = re.compile(r"identity(\d{3})\.obj")
_HELP = "give the folder FaceXModel of ICT-FaceKit, whole, or a part of it that has jawOpen.obj and identity000.obj on."


@dataclass(frozen=True)
class IctShapes:
    """The files of a folder, in metres; V kept vertices."""

    mesh: ObjMesh
    neutral: np.ndarray
    """[V, 3]."""
    identity: np.ndarray
    """[V, 3, n_shape] offsets."""
    expressions: Mapping[str, np.ndarray]
    """Offsets [V, 3] by name."""
    landmarks: np.ndarray
    """[68] vertex ids."""


def read_ict(folder: Path, layout: IctLayout = LIGHT) -> HeadModel:
    """Return the head model in an ICT-FaceKit folder (`FaceXModel`, or the repository that has it).

    All identity files are read, and the expressions of `vertex_indices.json` that the folder has. Raises InputError for
    a missing or damaged file, another topology than `layout`'s, or a jaw that `jawOpen` doesn't open.
    """
    shapes = _read_shapes(folder, layout)
    v = shapes.neutral
    faces, uvs, uv_faces = _surface(shapes.mesh, layout)
    ids = {part.name: np.arange(layout.start_vertex(part.name), part.end_vertex) for part in layout.parts}
    points = v[shapes.landmarks]
    skin = np.concatenate([ids["face"], ids["head"]])
    regions = _regions(v, skin, points, layout) | {name: ids[name] for name in ids if name not in ("face", "head")}
    weights, regressor = _rig(folder, shapes, layout, ids, regions)
    landmark_faces, landmark_weights = vertex_embedding(faces, shapes.landmarks)
    contour = dynamic_contour(
        v, faces, _contour_faces(v, faces, points, regions), (landmark_faces[:17], landmark_weights[:17])
    )
    pupils = _pupils(v, faces, ids, regressor)
    dirs = np.concatenate([shapes.identity, np.stack(list(shapes.expressions.values()), axis=-1)], axis=-1)
    n_shape, n_expr = shapes.identity.shape[-1], len(shapes.expressions)
    tensors = {name: _float(a) for name, a in (("v_template", v), ("shapedirs", dirs), ("skin_weights", weights))}
    return HeadModel(
        model_id=f"ict-facekit-{n_shape}-{n_expr}-{parameter_digest(*tensors.values())}",
        **tensors,
        n_shape=n_shape,
        posedirs=torch.zeros(36, v.size),
        joint_regressor=_float(regressor),
        faces=_int(faces),
        uvs=_float(uvs),
        uv_faces=_int(uv_faces),
        landmark_faces=_int(landmark_faces),
        landmark_barycentrics=_float(landmark_weights),
        contour_faces=_int(contour[0]),
        contour_barycentrics=_float(contour[1]),
        regions={name: _int(found) for name, found in regions.items()},
        expression_names=tuple(shapes.expressions),
        pupil_faces=_int(pupils[0]),
        pupil_barycentrics=_float(pupils[1]),
    )


def _float(a: np.ndarray) -> torch.Tensor:
    return torch.tensor(a, dtype=torch.float32)


def _int(a: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(a), dtype=torch.int64)


def _read_shapes(folder: Path, layout: IctLayout) -> IctShapes:
    folder = folder / "FaceXModel" if (folder / "FaceXModel").is_dir() else folder
    mesh = read_obj(folder / NEUTRAL_FILE)
    if (len(mesh.vertices), len(mesh.polygons)) != (layout.n_vertices, layout.n_polygons):
        raise InputError(
            folder / NEUTRAL_FILE,
            f"'{folder / NEUTRAL_FILE}' has {len(mesh.vertices)} vertices and {len(mesh.polygons)} polygons, the light "
            f"model has {layout.n_vertices} and {layout.n_polygons}.",
            _HELP,
        )
    index = _read_index(folder / INDEX_FILE, layout.n_vertices)
    kept = layout.parts[-1].end_vertex

    def offsets(name: str) -> np.ndarray:
        shape = read_obj_vertices(folder / f"{name}.obj", layout.n_vertices)
        return METRES_PER_UNIT * (shape - mesh.vertices)[:kept]

    names = [name for name in index[0] if (folder / f"{name}.obj").is_file()]
    identities = _identity_names(folder)
    if JAW_OPEN not in names or not identities:
        raise InputError(
            folder, f"'{folder}' has {len(identities)} identity shapes and {len(names)} expressions; {JAW_OPEN} is "
            f"{'there' if JAW_OPEN in names else 'missing'}.", _HELP,
        )  # fmt: skip
    landmarks = index[1].copy()
    landmarks[: len(layout.jaw_line)] = layout.jaw_line
    identity = np.stack([offsets(name) for name in identities], axis=-1)
    return IctShapes(
        mesh, METRES_PER_UNIT * mesh.vertices[:kept], identity, {name: offsets(name) for name in names}, landmarks
    )


def _identity_names(folder: Path) -> list[str]:
    """Return identity000, identity001 and so on; InputError for a gap, which would shift the coefficients."""
    numbers = sorted(int(m[1]) for m in map(_IDENTITY.fullmatch, (path.name for path in folder.iterdir())) if m)
    if numbers != list(range(len(numbers))):
        missing = next(n for n in range(len(numbers)) if n not in numbers)
        raise InputError(folder, f"'{folder}' lacks identity{missing:03d}.obj but has later ones.", _HELP)
    return [f"identity{n:03d}" for n in numbers]


def _read_index(path: Path, n_vertices: int) -> tuple[list[str], np.ndarray]:
    """Return the names of the expressions and the vertices of the 68 landmarks."""
    try:
        index = json.loads(path.read_text())
        names, landmarks = index["expressions"], np.array(index["idx_to_landmark_verts"], dtype=np.int64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(path, f"'{path}' can't be read as ICT-FaceKit's index: {error!r}.", _HELP) from error
    is_name = isinstance(names, list) and all(isinstance(name, str) and name.isidentifier() for name in names)
    if not is_name or landmarks.shape != (68,) or landmarks.min() < 0 or landmarks.max() >= n_vertices:
        raise InputError(path, f"'{path}' has {landmarks.shape} landmarks among {n_vertices} vertices.", _HELP)
    return names, landmarks


def _surface(mesh: ObjMesh, layout: IctLayout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return triangles [F, 3], texture coordinates [T, 2] in one common chart and their triangles [F, 3]."""
    n_polygons = layout.parts[-1].end_polygon
    polygons, uv_polygons = mesh.polygons[:n_polygons], mesh.uv_polygons[:n_polygons]
    faces, owner = triangulate(polygons)
    # The missing corner of a triangle may come first in the texture's polygon only together with the vertex's.
    uv_rows = triangulate(np.where(polygons < 0, -1, uv_polygons))[0]
    ends = [chart.end_polygon for chart in layout.charts]
    chart_of_face = np.searchsorted(ends, owner, side="right")
    pairs, uv_faces = np.unique(chart_of_face[:, None] * len(mesh.uvs) + uv_rows, return_inverse=True)
    charts, rows = np.divmod(pairs, len(mesh.uvs))
    uvs = mesh.uvs[rows]
    for number, chart in enumerate(layout.charts):
        u0, v0, u1, v1 = chart.box
        own = charts == number
        tile = np.floor(np.median(uvs[own], axis=0))
        uvs[own] = np.clip(uvs[own] - tile, 0, 1) * np.array([u1 - u0, v1 - v0]) + np.array([u0, v0])
    return faces, uvs, uv_faces.reshape(-1, 3)


def _regions(v: np.ndarray, skin: np.ndarray, points: np.ndarray, layout: IctLayout) -> dict[str, np.ndarray]:
    """Return the regions of the skin; the file's narrow face is not scalp."""
    regions = skin_regions(v, skin, points)
    narrow = regions["scalp"] < layout.n_narrow_face
    regions["face"] = np.union1d(regions["face"], regions["scalp"][narrow])
    regions["scalp"] = regions["scalp"][~narrow]
    return regions


def _rig(
    folder: Path,
    shapes: IctShapes,
    layout: IctLayout,
    ids: Mapping[str, np.ndarray],
    regions: Mapping[str, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Return skinning weights [V, 5] and the joints' regressor [5, V]."""
    v, opening = shapes.neutral, shapes.expressions[JAW_OPEN]
    teeth = ids["teeth"]
    moved = np.linalg.norm(opening[teeth], axis=-1)
    lower = teeth[moved >= 0.5 * moved.max()]
    rotation, translation = rig.rigid_motion(v[lower], v[lower] + opening[lower])
    angle = rig.angle_about_x(rotation)
    if angle < MIN_JAW_OPENING_RAD:
        raise InputError(folder, f"{JAW_OPEN}.obj in '{folder}' turns the lower teeth by {angle:.3f} rad.", _HELP)
    jaw = rig.hinge(angle, translation)
    skin = np.concatenate([ids["face"], ids["head"]])
    root, neck = rig.neck_joints(jaw, v[shapes.landmarks[8]], v[skin, 1].min())
    shells = {name: ids[name][: layout.n_sclera] for name in ("left_eyeball", "right_eyeball")}
    eyes = {name: rig.sphere(v[shell])[0] for name, shell in shells.items()}
    weights = rig.skin_weights(
        v, rig.jaw_weights(v, opening, jaw, angle), root, neck,
        {rig.LEFT_EYE: ids["left_eyeball"], rig.RIGHT_EYE: ids["right_eyeball"]},
    )  # fmt: skip
    from_neck = regions["neck"]

    def near(height: float) -> np.ndarray:
        return from_neck[np.argsort(np.abs(v[from_neck, 1] - height))[: max(len(from_neck) // 5, 8)]]

    ears = np.concatenate([regions["left_ear"], regions["right_ear"]])
    rows = [
        rig.regressor_row(v, near(root[1]), root),
        rig.regressor_row(v, near(neck[1]), neck),
        rig.regressor_row(v, ears, jaw),
        *(rig.regressor_row(v, shells[name], eyes[name]) for name in shells),
    ]
    return weights, np.stack(rows)


def _contour_faces(
    v: np.ndarray, faces: np.ndarray, points: np.ndarray, regions: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Return triangles of the face from the brows down, in front of the jaw line's ends."""
    inside = np.zeros(len(v), bool)
    inside[regions["face"]] = True
    inside &= (v[:, 2] > points[[0, 16], 2].mean()) & (v[:, 1] < points[17:27, 1].max())
    return np.flatnonzero(inside[faces].all(-1))


def _pupils(
    v: np.ndarray, faces: np.ndarray, ids: Mapping[str, np.ndarray], regressor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return triangles [2] and barycentrics [2, 3] of the surface straight ahead of the eyes' centres: right, left."""
    picked, weights = [], []
    for name, joint in (("right_eyeball", rig.RIGHT_EYE), ("left_eyeball", rig.LEFT_EYE)):
        own = np.flatnonzero(np.isin(faces, ids[name]).all(-1))
        found = frontal_embedding(v, faces[own], (regressor[joint] @ v)[None, :2])
        picked.append(own[found[0]])
        weights.append(found[1])
    return np.concatenate(picked), np.concatenate(weights)
