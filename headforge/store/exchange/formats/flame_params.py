"""VHAP's and GaussianAvatars' FLAME parameter files: npz arrays, read without unpickling.

Keys and shapes: ShenhanQian/VHAP, `export_as_nerf_dataset.py` (one file per moment) and `save_result` of its tracker
(`tracked_flame_params_*.npz`, all moments); ShenhanQian/GaussianAvatars reads the former.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headforge.errors import InputError
from headforge.guarded import read_npz
from headforge.store.exchange.heads import HeadFacts
from headforge.types import HEAD_PARAM_SIZES, HeadParams

PARAM_KEYS = {
    "shape": "shape",
    "expr": "expr",
    "rotation": "rotation",
    "neck": "neck_pose",
    "jaw": "jaw_pose",
    "eyes": "eyes_pose",
    "translation": "translation",
}
"""headforge's parameter names and VHAP's."""
CANONICAL_JAW_RAD = 0.3
"""Jaw angle of VHAP's canonical head: the mouth is open."""
FLAME_VERTICES = (5023, 5143)
"""Vertices of FLAME without and with the teeth that VHAP and GaussianAvatars add."""
FLAME_SIZES = {"shape": 300, "expr": 100}
"""Coefficients that GaussianAvatars' reader expects."""
FILE_HELP = "give a flame_param npz as VHAP writes it."


def loads_in_gaussianavatars(head: HeadFacts) -> bool:
    """Return whether GaussianAvatars' reader, which has FLAME's vertices built in, can pose these parameters."""
    return head.n_vertices in FLAME_VERTICES


def moment_arrays(params: HeadParams, head: HeadFacts, offset: Tensor | None) -> dict[str, np.ndarray]:
    """Return one moment's arrays of unbatched parameters: [1, n], `shape` flat, `static_offset` [1, V, 3], float32.

    FLAME's coefficients are padded with zeros to the lengths that readers expect.
    """
    arrays = {PARAM_KEYS[name]: value.detach().numpy().astype(np.float32) for name, value in params.tensors().items()}
    if loads_in_gaussianavatars(head):
        arrays |= {name: _padded(arrays[name], size) for name, size in FLAME_SIZES.items()}
    arrays = {name: value if name == "shape" else value[None] for name, value in arrays.items()}
    zeros = np.zeros((head.n_vertices, 3), np.float32)
    return arrays | {"static_offset": (zeros if offset is None else offset.numpy().astype(np.float32))[None]}


def canonical_arrays(moment: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a subject's `canonical_flame_param.npz`: a moment's shape and offset, mouth open, otherwise zero."""
    kept = ("shape", "static_offset")
    arrays = {name: value if name in kept else np.zeros_like(value) for name, value in moment.items()}
    arrays["jaw_pose"][..., 0] = CANONICAL_JAW_RAD
    return arrays


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([values, np.zeros(max(0, size - len(values)), np.float32)])


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the numeric arrays of an npz, without texts and objects. Raises InputError if it can't be read."""
    arrays = read_npz(path, FILE_HELP, InputError)
    return {name: array for name, array in arrays.items() if array.dtype.kind in "fiu"}


def params_of_arrays(arrays: Mapping[str, np.ndarray], head: HeadFacts) -> HeadParams:
    """Return parameters [T] of a file's arrays; the shape is shared. Raises ValueError with a reason.

    Coefficients beyond the head model's must be zero, missing ones are zero.
    """
    missing = [key for key in PARAM_KEYS.values() if key not in arrays]
    if missing:
        raise ValueError(f"has no {', '.join(missing)}")
    sizes = {"shape": head.n_shape, "expr": head.n_expr, **HEAD_PARAM_SIZES}
    n_moments = len(np.atleast_2d(arrays["expr"]))
    values = {}
    for name, key in PARAM_KEYS.items():
        rows = np.atleast_2d(arrays[key]).astype(np.float32)
        if rows.ndim != 2 or len(rows) not in (1, n_moments):
            raise ValueError(f"has {key} of the shape {arrays[key].shape} and {n_moments} moments")
        if not np.isfinite(rows).all():
            raise ValueError(f"has numbers in {key} that are not finite")
        exact = name in HEAD_PARAM_SIZES
        values[name] = torch.from_numpy(_resized(rows, sizes[name], key, exact)).expand(n_moments, -1)
    return HeadParams(head.model_id, **values)


def _resized(rows: np.ndarray, size: int, key: str, exact: bool) -> np.ndarray:
    found = rows.shape[1]
    if (exact and found != size) or rows[:, size:].any():
        raise ValueError(f"has {found} numbers in {key}, and the head model takes {size}")
    return np.pad(rows[:, :size], ((0, 0), (0, max(0, size - found))))


def offset_of_arrays(arrays: Mapping[str, np.ndarray], head: HeadFacts) -> Tensor:
    """Return `static_offset` as [V, 3], zeros if the file has none. Raises ValueError for unsupported offsets.

    Offsets of FLAME without teeth are padded with zeros; `dynamic_offset` is not supported and must be zero.
    """
    if "dynamic_offset" in arrays and np.any(arrays["dynamic_offset"]):
        raise ValueError("has a dynamic_offset, which headforge's head parameters can't hold")
    offset = np.asarray(arrays.get("static_offset", np.zeros((1, 0, 3))), dtype=np.float32)
    offset = offset[0] if offset.ndim == 3 and len(offset) == 1 else offset
    if offset.ndim != 2 or offset.shape[1] != 3 or not np.isfinite(offset).all():
        raise ValueError(f"has a static_offset of the shape {offset.shape} or with numbers that are not finite")
    n_missing = head.n_vertices - len(offset)
    if n_missing and len(offset) and (len(offset), head.n_vertices) != FLAME_VERTICES:
        raise ValueError(f"has a static_offset of {len(offset)} vertices, and the head model has {head.n_vertices}")
    return torch.from_numpy(np.pad(offset, ((0, n_missing), (0, 0))))
