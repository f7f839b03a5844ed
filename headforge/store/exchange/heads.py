"""Head model facts that formats need, and per-vertex offsets beside a dataset.

`headforge.flame.files.load_head` reads the head model itself; its caller passes these facts.
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
"""Returns the 68 landmarks [V, 68, 3] in world coordinates, metres, of head parameters [V]."""


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
    """[V, 3] of the person; zero if there is none."""


def write_static_offsets(folder: Path, offsets: Mapping[str, Tensor]) -> None:
    """Write the subjects' offsets; write no file if there are none."""
    kept = {name: value.contiguous() for name, value in sorted(offsets.items()) if bool(value.any())}
    if kept:
        save_file(kept, folder / STATIC_OFFSETS)


def read_static_offsets(folder: Path) -> dict[str, Tensor]:
    """Read the offsets [V, 3] by subject; empty if the folder has none. Raises DataError for a damaged file."""
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
