"""FLAME 2020 and 2023 (Li et al. 2017; MPI's licence) from the files they are published in, as a head model.

Nothing in the files is run (`headforge.pickles`). `files.save_head` stores a model that was read. The id of the model
carries its version and a digest of its arrays, so that parameters of one release never pose another.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from scipy.spatial import KDTree

from headforge.errors import InputError
from headforge.flame import teeth
from headforge.flame.contour import contour_turns_our_way, dynamic_contour, mirrored_rows
from headforge.flame.files import parameter_digest
from headforge.flame.model import HeadModel
from headforge.flame.readers.flame_files import (
    VERSIONS,
    FlameFiles,
    FlameLandmarks,
    read_arrays,
    read_eyelid,
    read_landmarks,
    read_masks,
)
from headforge.flame.readers.obj import read_obj, triangulate
from headforge.flame.regions import eyeball_components, skin_regions

N_SHAPE = 300
"""FLAME's identity components; those after them are expressions."""
NECK, JAW = 1, 2
TEETH_TOPOLOGY = 5023
"""Vertices of the topology whose lip rings are known."""
_CHART_MARGIN = 0.01


def read_flame(files: FlameFiles, *, n_shape: int = N_SHAPE, with_teeth: bool = True) -> HeadModel:
    """Return FLAME as a head model, any vertex count, in the files' metres and axes.

    `with_teeth` appends VHAP's 120 vertices and 168 triangles, if the topology is FLAME's own. The rows of the dynamic
    contour are put in the order of `contour_bin`, whichever sign the file uses; a missing contour is computed. Raises
    InputError for anything that is not as published.
    """
    arrays = read_arrays(files.model)
    if arrays["shapedirs"].shape[-1] <= n_shape:
        found = arrays["shapedirs"].shape[-1]
        raise InputError(
            files.model, f"'{files.model}' has {found} components, of which {n_shape} would be identity and none "
            "expression.", "give n_shape, the number of identity components, if it is not FLAME's 300.",
        )  # fmt: skip
    v, faces = arrays["v_template"].astype(np.float64), arrays["f"]
    marks = read_landmarks(files, len(faces))
    points = np.einsum("nk,nkc->nc", marks.barycentrics, v[faces[marks.faces]])
    contour = _contour(v, faces, points, marks)
    pupils = _right_then_left(v, faces, marks)
    uvs, uv_faces = _chart(files, v, faces)
    regions = _regions(files, v, faces, points)
    tensors = {
        "v_template": _float(v),
        "shapedirs": _float(arrays["shapedirs"]),
        "posedirs": _float(arrays["posedirs"].reshape(-1, arrays["posedirs"].shape[-1]).T),
        "joint_regressor": _float(arrays["J_regressor"]),
        "skin_weights": _float(arrays["weights"]),
    }
    version = VERSIONS.get(files.model.stem, files.model.stem)
    model = HeadModel(
        model_id=f"flame{version}-{parameter_digest(*tensors.values())}",
        n_shape=n_shape,
        **tensors,
        faces=_int(faces),
        uvs=_float(uvs),
        uv_faces=_int(uv_faces),
        landmark_faces=_int(marks.faces),
        landmark_barycentrics=_float(marks.barycentrics),
        contour_faces=_int(contour[0]),
        contour_barycentrics=_float(contour[1]),
        regions={name: _int(ids) for name, ids in regions.items()},
        expression_names=(),
        pupil_faces=_int(pupils[0]),
        pupil_barycentrics=_float(pupils[1]),
        eyelids=_eyelids(files, len(v)),
    )
    return append_teeth(model) if with_teeth and len(v) == TEETH_TOPOLOGY else model


def _float(a: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(a), dtype=torch.float32)


def _int(a: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(a), dtype=torch.int64)


def _contour(
    v: np.ndarray, faces: np.ndarray, points: np.ndarray, marks: FlameLandmarks
) -> tuple[np.ndarray, np.ndarray]:
    if len(marks.contour_faces):
        contour = (marks.contour_faces, marks.contour_barycentrics)
        return contour if contour_turns_our_way(v, faces, contour) else mirrored_rows(contour)
    skin = np.setdiff1d(np.arange(len(v)), np.concatenate([*eyeball_components(v, faces, points).values(), []]))
    inside = np.zeros(len(v), bool)
    inside[skin_regions(v, skin.astype(np.int64), points)["face"]] = True
    inside &= (v[:, 2] > points[[0, 16], 2].mean()) & (v[:, 1] < points[17:27, 1].max())
    candidates = np.flatnonzero(inside[faces].all(-1))
    return dynamic_contour(v, faces, candidates, (marks.faces[:17], marks.barycentrics[:17]))


def _right_then_left(v: np.ndarray, faces: np.ndarray, marks: FlameLandmarks) -> tuple[np.ndarray, np.ndarray]:
    if not len(marks.pupil_faces):
        return marks.pupil_faces, marks.pupil_barycentrics
    places = np.einsum("nk,nkc->nc", marks.pupil_barycentrics, v[faces[marks.pupil_faces]])
    order = np.argsort(places[:, 0])
    return marks.pupil_faces[order], marks.pupil_barycentrics[order]


def _regions(files: FlameFiles, v: np.ndarray, faces: np.ndarray, points: np.ndarray) -> dict[str, np.ndarray]:
    if files.masks is not None:
        return read_masks(files.masks, len(v))
    eyeballs = eyeball_components(v, faces, points)
    skin = np.setdiff1d(np.arange(len(v)), np.concatenate([*eyeballs.values(), []])).astype(np.int64)
    return skin_regions(v, skin, points) | eyeballs


def _eyelids(files: FlameFiles, n_vertices: int) -> torch.Tensor:
    if files.left_eyelid is None or files.right_eyelid is None:
        return torch.zeros(0, 3, 2)
    both = [read_eyelid(path, n_vertices) for path in (files.left_eyelid, files.right_eyelid)]
    return _float(np.stack(both, axis=-1))


def _chart(files: FlameFiles, v: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return texture coordinates [T, 2] and their triangles [F, 3]: the template's, or a cylinder about the head."""
    if files.template is None:
        return cylinder_chart(v, faces)
    mesh = read_obj(files.template)
    theirs = triangulate(mesh.polygons)[0]
    uv_rows = triangulate(np.where(mesh.polygons < 0, -1, mesh.uv_polygons))[0]
    tree = KDTree(np.sort(theirs, axis=-1))
    distance, match = tree.query(np.sort(faces, axis=-1))
    if distance.max() > 0 or uv_rows.min() < 0:
        raise InputError(
            files.template,
            f"'{files.template}' lacks {int((distance > 0).sum())} of the model's {len(faces)} triangles and "
            f"{int((uv_rows < 0).sum())} texture coordinates.",
            "give the template of the same topology, with its texture.",
        )
    corner = (theirs[match][:, None, :] == faces[:, :, None]).argmax(-1)
    return mesh.uvs, np.take_along_axis(uv_rows[match], corner, axis=1)


def cylinder_chart(v: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return texture coordinates [T, 2] in [0, 1] by azimuth and height, with the seam at the back; triangles [F, 3].

    Surfaces behind one another (eyeballs, the inside of the mouth) overlap.
    """
    low, high = v.min(0), v.max(0)
    azimuth = np.arctan2(v[:, 0], v[:, 2] - (low[2] + high[2]) / 2) / (2 * np.pi) + 0.5
    corners = azimuth[faces]
    # A triangle over the seam takes the corners on its left once round the cylinder.
    wraps = (np.ptp(corners, axis=1) > 0.5)[:, None] & (corners < 0.5)
    pairs, uv_faces = np.unique(faces + wraps * len(v), return_inverse=True)
    turns, ids = np.divmod(pairs, len(v))
    u, height = azimuth[ids] + turns, (v[ids, 1] - low[1]) / (high[1] - low[1])
    uvs = np.stack([u / max(u.max(), 1.0), height], axis=-1)
    return _CHART_MARGIN + (1 - 2 * _CHART_MARGIN) * uvs, uv_faces.reshape(-1, 3)


def append_teeth(model: HeadModel) -> HeadModel:
    """Return the model with VHAP's teeth after its own vertices and triangles, whose ids do not change.

    Upper teeth move with the neck joint, lower ones with the jaw; they take the lips' mean identity shapes and no
    expression; regions `teeth`, `upper_teeth`, `lower_teeth`. For FLAME's topology of 5023 vertices.
    """
    n, count = model.n_vertices, teeth.N_VERTICES
    upper, lower = (list(ring) for ring in (teeth.UPPER_LIP_RING, teeth.LOWER_LIP_RING))
    v = model.v_template
    new = _float(teeth.teeth_vertices(v[upper].double().numpy(), v[lower].double().numpy()))
    dirs = torch.zeros(count, 3, model.shapedirs.shape[-1])
    lips = (model.shapedirs[upper, :, : model.n_shape] + model.shapedirs[lower, :, : model.n_shape]) / 2
    dirs[..., : model.n_shape] = lips.repeat(count // len(upper), 1, 1)
    ids = {"upper_teeth": teeth.row_vertices(teeth.UPPER_ROWS), "lower_teeth": teeth.row_vertices(teeth.LOWER_ROWS)}
    weights = torch.zeros(count, model.skin_weights.shape[1])
    weights[ids["upper_teeth"], NECK] = 1
    weights[ids["lower_teeth"], JAW] = 1
    faces = _int(teeth.teeth_faces())
    pad = torch.zeros(model.joint_regressor.shape[0], count)
    regions = {name: n + _int(part) for name, part in ids.items()} | {"teeth": torch.arange(n, n + count)}
    return dataclasses.replace(
        model,
        v_template=torch.cat([v, new]),
        shapedirs=torch.cat([model.shapedirs, dirs]),
        posedirs=torch.cat([model.posedirs, torch.zeros(len(model.posedirs), 3 * count)], dim=1),
        joint_regressor=torch.cat([model.joint_regressor, pad], dim=1),
        skin_weights=torch.cat([model.skin_weights, weights]),
        faces=torch.cat([model.faces, faces + n]),
        uvs=torch.cat([model.uvs, _float(teeth.teeth_uvs())]),
        uv_faces=torch.cat([model.uv_faces, faces + len(model.uvs)]),
        eyelids=torch.cat([model.eyelids, torch.zeros(count, 3, 2)]) if len(model.eyelids) else model.eyelids,
        regions={**model.regions, **regions},
    )
