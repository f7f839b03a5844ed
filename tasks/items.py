"""Items of work: what is to be made, what came of it, and where rejected ones are recorded. No Prefect here: workers,
which run what items name, don't need it."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from headforge.errors import StoreError
from headforge.progress import Progress
from headforge.store.files import DISK_ERRORS, storage_errors
from headforge.store.objects.manifest import FileEntry, settle
from headforge.store.objects.store import Recipe, StoredObject
from tasks.environment import made_with

REJECTED_FILE = "rejected.json"
"""In an object that records that its item was rejected, in place of anything else."""
BEGUN_FILE = ".begun"
"""In the folder of an item in the making; hidden, so that it is no part of the object."""
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
    n_parts: int | None = None
    """How many subjects or pictures it will report as done, if that is known before it begins."""
    part: str = ""
    """What those are, such as "subject"."""
    needs_gpu: bool = False
    """Whether the function needs a graphics card."""

    def relabelled(self, label: str) -> Item:
        """Return the same piece of work under another label."""
        return dataclasses.replace(self, label=label)


@dataclass(frozen=True)
class Failure:
    """An item that could not be made."""

    label: str
    reason: str
    help: str
    details: str = ""
    """The trace back of a crash."""
    key: str = ""
    """Of its recipe."""


@dataclass(frozen=True)
class Built:
    """What became of a list of items, in their order."""

    objects: tuple[StoredObject | None, ...]
    """None where an item failed."""
    failures: tuple[Failure, ...]


class LostWorkerError(Exception):
    """A worker was lost in the middle of an item; another attempt needs fresh folders."""


def make_files(
    function: Callable[..., object], args: tuple[object, ...], folders: tuple[Path, ...], progress: Progress
) -> tuple[Mapping[str, FileEntry], Mapping[str, str]]:
    """Runs in a worker: call an item's function, then hash what it left, so that the driver need not read it.

    Gives the files and what they were made with (`tasks.environment`). Raises LostWorkerError if it was called with
    these folders before: a cluster starts a call again when it loses the worker, which may still be writing. StoreError
    if there is no such folder here, or the disk is full.
    """
    try:
        (folders[0] / BEGUN_FILE).open("x").close()
    except FileExistsError as error:
        raise LostWorkerError("the worker that had begun with it died (killed, or out of memory)") from error
    except FileNotFoundError as error:
        raise StoreError(
            folders[0],
            f"{platform.node()} does not see the folder {folders[0]}, which the driver has made.",
            "put HEADFORGE_HOME on a file system that the driver and all workers share, at the same path.",
        ) from error
    with storage_errors(folders[0], only=DISK_ERRORS):
        function(*args, *folders, progress)
        return settle(folders[0]), made_with()


def rejection(found: StoredObject) -> Mapping[str, str] | None:
    """Return why the item of an object was rejected, or None if it was not."""
    path = found.path / REJECTED_FILE
    return json.loads(path.read_text()) if path.is_file() else None


def write_rejection(folder: Path, item: str, gate: str, reason: str, help: str) -> None:
    """Record in an item's folder that it was rejected."""
    fields = {"item": item, "gate": gate, "reason": reason, "help": help}
    (folder / REJECTED_FILE).write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n")
