"""Items of work: what is to be made, what came of it, and where rejected ones are recorded. No Prefect here: workers,
which run what items name, don't need it."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headforge.store.objects import Recipe, StoredObject

REJECTED_FILE = "rejected.json"
"""In an object that records that its item was rejected, in place of anything else."""
CPU_RUNTIME: Mapping[str, str] = {"device": "cpu", "machine": platform.machine(), "threads": "1"}
"""What else the bytes of a result depend on."""


@dataclass(frozen=True)
class Item:
    """A piece of work and the recipe that names its result."""

    label: str
    """Such as "shard 3" or "000005"."""
    recipe: Recipe
    function: Callable[..., object]
    """Top level, called as function(*args, folder, progress) in a worker; it writes into `folder`, which is empty."""
    args: tuple[object, ...]
    resumable: bool = False
    """Whether the function takes a second folder after `folder`, which survives a crash, to go on from."""


@dataclass(frozen=True)
class Failure:
    """An item that could not be made."""

    label: str
    reason: str
    help: str
    details: str = ""
    """The trace back of a crash."""


@dataclass(frozen=True)
class Built:
    """What became of a list of items, in their order."""

    objects: tuple[StoredObject | None, ...]
    """None where an item failed."""
    failures: tuple[Failure, ...]


def params_of(config: Any, without: tuple[str, ...] = ()) -> dict[str, object]:
    """The fields of a settings dataclass that a recipe names."""
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in without}


def rejection(found: StoredObject) -> Mapping[str, str] | None:
    """Why the item of an object was rejected, or None if it was not."""
    path = found.path / REJECTED_FILE
    return json.loads(path.read_text()) if path.is_file() else None


def write_rejection(folder: Path, item: str, gate: str, reason: str, help: str) -> None:
    """Record in an item's folder that it was rejected."""
    fields = {"item": item, "gate": gate, "reason": reason, "help": help}
    (folder / REJECTED_FILE).write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n")
