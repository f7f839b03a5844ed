"""What formats need to know of a head model, and per-vertex offsets beside a dataset.

The head model itself is read by `headforge.flame.files.load_head`; whoever has it passes these facts on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from headforge.errors import DataError
from headforge.guarded import guarded
from headforge.types import HeadParams

STATIC_OFFSETS = "static_offsets.safetensors"
"""One tensor [V, 3] per subject: metres added to the shaped head before its joints are regressed."""

LandmarkFinder = Callable[[HeadParams], Tensor]
"""The 68 landmarks [V, 68, 3] in the world, metres, of head parameters [V]."""


@dataclass(frozen=True)
class HeadFacts:
    """A head model's identity and sizes."""

    model_id: str
    n_vertices: int
    n_shape: int
    n_expr: int


@dataclass(frozen=True)
class StatedHead:
    """Head parameters of one picture as a file states them."""

    params: HeadParams
    """Unbatched."""
    static_offset: Tensor
    """[V, 3]: the person's, zero if there is none."""


def write_static_offsets(folder: Path, offsets: Mapping[str, Tensor]) -> None:
    """Write the offsets of those subjects that have any; nothing if none has."""
    kept = {name: value.contiguous() for name, value in sorted(offsets.items()) if bool(value.any())}
    if kept:
        save_file(kept, folder / STATIC_OFFSETS)


def read_static_offsets(folder: Path) -> dict[str, Tensor]:
    """Return offsets [V, 3] by subject; empty if the folder has none. Raises DataError for a damaged file."""
    path = folder / STATIC_OFFSETS
    if not path.is_file():
        return {}
    with guarded(path, "readable safetensors", "import the data again."):
        found = load_file(path)
    bad = [name for name, value in found.items() if value.ndim != 2 or not bool(torch.isfinite(value).all())]
    if bad:
        raise DataError(path, f"'{path}' has offsets of {bad[0]} that are not [V, 3] finite numbers.",
                        "import the data again.")  # fmt: skip
    return found
