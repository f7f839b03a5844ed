"""Recognition and validation of FLAME's files: the model, landmark embeddings, masks, eyelids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
import torch

from headforge.errors import InputError
from headforge.flame.landmarks import N_CONTOUR_BINS
from headforge.pickles import read_npy, read_pickle

VERSIONS = {
    "generic_model": "2020",
    "female_model": "2020-female",
    "male_model": "2020-male",
    "flame2023": "2023",
    "flame2023_no_jaw": "2023-no-jaw",
}
"""Version of FLAME by the name of the file."""
N_JOINTS, N_POSE_FEATURES = 5, 36
_HELP = "take FLAME's own file, unchanged and whole; download it again if it was cut off."
_FIELD_OF_NAME = {
    "FLAME_masks.pkl": "masks", "landmark_embedding_with_eyes.npy": "landmarks", "landmark_embedding.npy": "landmarks",
    "flame_static_embedding.pkl": "landmarks", "flame_dynamic_embedding.npy": "contour",
    "l_eyelid.npy": "left_eyelid", "r_eyelid.npy": "right_eyelid",
}  # fmt: skip


@dataclass(frozen=True)
class FlameFiles:
    """Paths of FLAME's files; all but two may be missing."""

    model: Path
    """generic_model.pkl (2020), flame2023.pkl or another pickle with FLAME's keys."""
    landmarks: Path
    """landmark_embedding_with_eyes.npy (70 points), landmark_embedding.npy (68) or flame_static_embedding.pkl (51)."""
    contour: Path | None = None
    """flame_dynamic_embedding.npy, if `landmarks` is the static one."""
    masks: Path | None = None
    """FLAME_masks.pkl; without it the regions come from the landmarks."""
    template: Path | None = None
    """An OBJ of the same topology, for texture coordinates; without it a cylindrical chart is made."""
    left_eyelid: Path | None = None
    """l_eyelid.npy: offsets that shut the left eye."""
    right_eyelid: Path | None = None
    """r_eyelid.npy."""


def sort_flame_files(paths: Sequence[Path]) -> FlameFiles:
    """Find FLAME's files among `paths` (files, or folders that hold them) by their published names.

    The template is the one .obj, the model one of `VERSIONS` or the one other .pkl. Raises InputError if the model or
    the landmarks are missing, or if two files fit one place.
    """
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    found: dict[str, list[Path]] = {}
    for file in files:
        place = _FIELD_OF_NAME.get(file.name)
        if file.stem in VERSIONS or (place is None and file.suffix == ".pkl"):
            place = "model"
        elif file.suffix == ".obj":
            place = "template"
        if place:
            found.setdefault(place, []).append(file)
    _prefer(found, "model", lambda file: file.stem in VERSIONS)
    _prefer(found, "landmarks", lambda file: file.stem == "landmark_embedding_with_eyes")
    _prefer(found, "landmarks", lambda file: file.suffix == ".npy")
    where = ", ".join(f"'{path}'" for path in paths)
    for place, several in found.items():
        if len(several) > 1:
            names = " and ".join(path.name for path in several)
            raise InputError(paths[0], f"{where} holds {names}; one {place} is needed.", "name the files one by one.")
    for place, example in (("model", "generic_model.pkl or flame2023.pkl"), ("landmarks", "landmark_embedding.npy")):
        if place not in found:
            raise InputError(where, f"{where} holds no file for FLAME's {place}.", f"give {example} too.")
    return FlameFiles(**{place: several[0] for place, several in found.items()})


def _prefer(found: dict[str, list[Path]], place: str, is_better: Callable[[Path], bool]) -> None:
    """Keep the better files for a place, if there are any."""
    better = [file for file in found.get(place, []) if is_better(file)]
    if better:
        found[place] = better


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the checked arrays of a FLAME model pickle.

    v_template [V, 3], shapedirs [V, 3, N], posedirs [V, 3, 36], J_regressor [5, V] dense, kintree_table [2, 5], weights
    [V, 5], f [F, 3].

    Raises InputError.
    """
    raw = read_pickle(path)
    if not isinstance(raw, Mapping):
        raise InputError(path, f"'{path}' holds a {type(raw).__name__}, not FLAME's dict of arrays.", _HELP)
    template = _array(path, raw, "v_template", (None, 3))
    n = len(template)
    arrays = {
        "v_template": template,
        "shapedirs": _array(path, raw, "shapedirs", (n, 3, None)),
        "posedirs": _array(path, raw, "posedirs", (n, 3, N_POSE_FEATURES)),
        "J_regressor": _array(path, raw, "J_regressor", (N_JOINTS, n)),
        "kintree_table": _array(path, raw, "kintree_table", (2, N_JOINTS)),
        "weights": _array(path, raw, "weights", (n, N_JOINTS)),
        "f": _array(path, raw, "f", (None, 3)).astype(np.int64),
    }
    if not len(arrays["f"]) or arrays["f"].min() < 0 or arrays["f"].max() >= n:
        raise InputError(path, f"the triangles in '{path}' refer to more than its {n} vertices.", _HELP)
    if not np.allclose(arrays["weights"].sum(-1), 1, atol=1e-3):
        raise InputError(path, f"the skinning weights in '{path}' don't sum to 1.", _HELP)
    parents = arrays["kintree_table"][0, 1:].astype(np.int64).tolist()
    if parents != [0, 1, 1, 1]:
        raise InputError(
            path, f"the joints in '{path}' have the parents {parents}, FLAME's are [0, 1, 1, 1].",
            "give a FLAME head model; SMPL and SMPL-X bodies have other joints.",
        )  # fmt: skip
    return arrays


def _array(path: Path, raw: Mapping, key: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """Return a finite array of a dict; None in `shape` is any size."""
    if key not in raw:
        raise InputError(path, f"'{path}' lacks '{key}'; it has {sorted(map(str, raw))}.", _HELP)
    value = raw[key]
    if scipy.sparse.issparse(value):
        value = value.toarray()
    array = np.asarray(value.numpy() if isinstance(value, torch.Tensor) else value)
    wanted = ", ".join("any" if size is None else str(size) for size in shape)
    if array.dtype.kind not in "fiu" or array.ndim != len(shape):
        raise InputError(path, f"'{key}' in '{path}' is {array.dtype} {array.shape}, expected [{wanted}].", _HELP)
    if any(size not in (None, found) for size, found in zip(shape, array.shape, strict=True)):
        raise InputError(path, f"'{key}' in '{path}' has the shape {array.shape}, expected [{wanted}].", _HELP)
    if not np.isfinite(array).all():
        raise InputError(path, f"'{key}' in '{path}' holds values that are not finite.", _HELP)
    return array


@dataclass(frozen=True)
class FlameLandmarks:
    """Points on FLAME's triangles: ids and barycentrics."""

    faces: np.ndarray
    """[68]."""
    barycentrics: np.ndarray
    """[68, 3]."""
    contour_faces: np.ndarray
    """[79, 17], or [0, 17] if the files have none."""
    contour_barycentrics: np.ndarray
    pupil_faces: np.ndarray
    """[2], or [0] if the files have none."""
    pupil_barycentrics: np.ndarray


def read_landmarks(files: FlameFiles, n_faces: int) -> FlameLandmarks:
    """Return the landmarks of any of the published embeddings. Raises InputError."""
    path = files.landmarks
    raw = _dict(path)
    contour = raw
    if files.contour is not None:
        contour = _dict(files.contour)
    names = ("dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords")
    names = names if names[0] in contour else ("lmk_face_idx", "lmk_b_coords")
    is_contour = names[0] in contour and np.ndim(contour[names[0]]) == 2
    bins = (
        _embedding(files.contour or path, contour, *names, (N_CONTOUR_BINS, 17), n_faces) if is_contour else _none(17)
    )
    pupils = _none()
    if "full_lmk_faces_idx" in raw:
        n_points = np.asarray(raw["full_lmk_faces_idx"]).size
        full = _embedding(path, raw, "full_lmk_faces_idx", "full_lmk_bary_coords", (n_points,), n_faces)
        if n_points not in (68, 70):
            raise InputError(path, f"'{path}' holds {n_points} landmarks, expected 68 or 70.", _HELP)
        points, pupils = (full[0][:68], full[1][:68]), (full[0][68:], full[1][68:])
    else:
        static = ("static_lmk_faces_idx", "static_lmk_bary_coords")
        static = static if static[0] in raw else ("lmk_face_idx", "lmk_b_coords")
        inner = _embedding(path, raw, *static, (51,), n_faces)
        if not len(bins[0]):
            raise InputError(
                path, f"'{path}' holds the 51 inner landmarks, and no file gives the jaw line.",
                "give flame_dynamic_embedding.npy or landmark_embedding.npy too.",
            )  # fmt: skip
        points = (np.concatenate([bins[0][0], inner[0]]), np.concatenate([bins[1][0], inner[1]]))
    return FlameLandmarks(points[0], points[1], bins[0], bins[1], pupils[0], pupils[1])


def _none(*columns: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((0, *columns), np.int64), np.zeros((0, *columns, 3))


def _dict(path: Path) -> Mapping:
    value = read_pickle(path) if path.suffix == ".pkl" else read_npy(path)
    if isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.reshape(-1)[0]
    if not isinstance(value, Mapping):
        raise InputError(path, f"'{path}' holds a {type(value).__name__}, not a dict of arrays.", _HELP)
    return value


def _embedding(
    path: Path, raw: Mapping, faces: str, barycentrics: str, shape: tuple[int, ...], n_faces: int
) -> tuple[np.ndarray, np.ndarray]:
    missing = [key for key in (faces, barycentrics) if key not in raw]
    if missing:
        raise InputError(path, f"'{path}' lacks '{missing[0]}'; it has {sorted(map(str, raw))}.", _HELP)
    ids, weights = (np.asarray(raw[key]) for key in (faces, barycentrics))
    if ids.size != np.prod(shape) or weights.size != 3 * ids.size or ids.dtype.kind not in "iu":
        raise InputError(
            path, f"'{faces}' and '{barycentrics}' in '{path}' have the shapes {ids.shape} and {weights.shape}, "
            f"expected {shape} and {(*shape, 3)}.", _HELP,
        )  # fmt: skip
    ids, weights = ids.reshape(shape).astype(np.int64), weights.reshape(*shape, 3).astype(np.float64)
    if ids.min() < 0 or ids.max() >= n_faces:
        raise InputError(
            path, f"'{faces}' in '{path}' refers to triangle {ids.max()}, the model has {n_faces}.",
            "take the landmark file that was published with the model.",
        )  # fmt: skip
    if not np.allclose(weights.sum(-1), 1, atol=1e-3):
        raise InputError(path, f"'{barycentrics}' in '{path}' don't sum to 1.", _HELP)
    return ids, weights


def read_masks(path: Path, n_vertices: int) -> dict[str, np.ndarray]:
    """Return vertex ids by region. Raises InputError."""
    masks = {}
    for name, value in _dict(path).items():
        ids = np.asarray(value)
        if not isinstance(name, str) or ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise InputError(path, f"the region {name!r} in '{path}' is not a list of vertices.", _HELP)
        if len(ids) and (ids.min() < 0 or ids.max() >= n_vertices):
            raise InputError(
                path, f"the region '{name}' in '{path}' refers to vertex {ids.max()}, the model has {n_vertices}.",
                "take the masks that were published with the model.",
            )  # fmt: skip
        masks[name] = np.unique(ids.astype(np.int64))
    return masks


def read_eyelid(path: Path, n_vertices: int) -> np.ndarray:
    """Return offsets [V, 3] in metres that shut one eye. Raises InputError."""
    return _array(path, {path.name: read_npy(path)}, path.name, (n_vertices, 3))
