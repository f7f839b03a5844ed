"""Training checkpoints: one safetensors file, replaced atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from headforge.errors import DataError
from headforge.store.files import atomic_path

FILE_NAME = "checkpoint.safetensors"


@dataclass(frozen=True)
class TrainState:
    """Complete state of a training run, for an exact resume."""

    n_images_seen: int
    log: Sequence[Mapping[str, float]]
    """Finished lines of the training log."""
    losses: Sequence[float]
    """Losses since the last line."""
    tensors: Mapping[str, Tensor]
    """Weights, averaged weights and optimiser state."""


def write_checkpoint(work: Path, state: TrainState) -> None:
    """Replace the checkpoint in `work` atomically: readers find either the old or the new one."""
    notes = {"n_images_seen": state.n_images_seen, "log": list(state.log), "losses": list(state.losses)}
    tensors = {name: tensor.contiguous() for name, tensor in state.tensors.items()}
    with atomic_path(work / FILE_NAME) as path:
        safetensors.torch.save_file(tensors, path, metadata={"state": json.dumps(notes)})


def read_checkpoint(work: Path) -> TrainState | None:
    """Read the checkpoint in `work`; None if there is none. Raises DataError if it can't be read."""
    path = work / FILE_NAME
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            notes = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        return TrainState(notes["n_images_seen"], notes["log"], notes["losses"], tensors)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(path, f"the checkpoint {path} can't be read ({error}).",
                        "delete it; training then starts again.") from error  # fmt: skip
