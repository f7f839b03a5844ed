"""A head model as one safetensors file, and its digest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from headforge.errors import DataError, InputError
from headforge.flame.model import HeadModel
from headforge.guarded import guarded, open_safetensors, parse_json

FORMAT = "headforge-head-model-1"
HEAD_FILE = "head_model.safetensors"
"""File name in a dataset or a trained model."""
_TENSORS = (
    "v_template", "shapedirs", "posedirs", "joint_regressor", "skin_weights", "faces", "uvs", "uv_faces",
    "landmark_faces", "landmark_barycentrics", "contour_faces", "contour_barycentrics",
)  # fmt: skip
_OPTIONAL_TENSORS = ("pupil_faces", "pupil_barycentrics", "eyelids")
"""Written only if not empty, so that files and digests of models without them do not change."""
_REGION = "region."


def _tensors(model: HeadModel) -> dict[str, Tensor]:
    named = {name: getattr(model, name) for name in _TENSORS}
    named |= {name: getattr(model, name) for name in _OPTIONAL_TENSORS if getattr(model, name).numel()}
    return named | {_REGION + name: ids for name, ids in sorted(model.regions.items())}


def _metadata(model: HeadModel) -> dict[str, str]:
    """Return the metadata as one entry: safetensors writes several in an order that varies between runs."""
    facts = {
        "format": FORMAT,
        "model_id": model.model_id,
        "n_shape": model.n_shape,
        "expression_names": list(model.expression_names),
    }
    return {"headforge": json.dumps(facts, sort_keys=True)}


def save_head(model: HeadModel, path: Path) -> None:
    """Write `model` to the file `path` (.safetensors); the bytes depend on the model only."""
    save_file({name: t.contiguous() for name, t in _tensors(model).items()}, path, metadata=_metadata(model))


def load_head(path: Path) -> HeadModel:
    """Read a file of `save_head`.

    Raises InputError if there is no such file, DataError if it is not a head model or is damaged.
    """
    if not path.is_file():
        raise InputError(
            path, f"there is no head model at '{path}'.", "give the path of a head_model.safetensors file."
        )
    with open_safetensors(path) as file:
        facts = parse_json((file.metadata() or {}).get("headforge", "{}"))
        if facts.get("format") != FORMAT:
            found = facts.get("format", "none")
            raise DataError(
                path,
                f"'{path}' is not a head model: its format is '{found}', expected '{FORMAT}'.",
                "make the dataset again, or give another file.",
            )
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    missing = [name for name in _TENSORS if name not in tensors]
    if missing:
        raise DataError(path, f"'{path}' lacks the tensors {missing}.", "make the file again.")
    with guarded(path, "a readable head model"):
        return HeadModel(
            model_id=facts["model_id"],
            n_shape=facts["n_shape"],
            expression_names=tuple(facts["expression_names"]),
            regions={name.removeprefix(_REGION): ids for name, ids in tensors.items() if name.startswith(_REGION)},
            **{name: tensors[name] for name in (*_TENSORS, *_OPTIONAL_TENSORS) if name in tensors},
        )


def parameter_digest(*tensors: Tensor) -> str:
    """Return 12 hex digits of the SHA-256 of the arrays that define the parameters; part of a converted model's id."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def head_digest(model: HeadModel) -> str:
    """Return the SHA-256 in hex of the whole model: names, types, shapes and values."""
    digest = hashlib.sha256(json.dumps(_metadata(model), sort_keys=True).encode())
    for name, tensor in sorted(_tensors(model).items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
