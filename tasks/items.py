"""Items of work, their results, and the records of rejected ones. Does not import Prefect: workers don't need it."""

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
"""Only file of an object that records the rejection of its item."""
BEGUN_FILE = ".begun"
"""Marks the folder of an item that a worker has begun; hidden, so that it is not part of the object."""
CPU_RUNTIME: Mapping[str, str] = {"device": "cpu", "machine": platform.machine(), "threads": "1"}
"""Runtime part of recipes: the bytes of a result depend on it."""


@dataclass(frozen=True)
class Item:
    """A unit of work and the recipe that identifies its result."""

    label: str
    """Name, such as "shard 3" or "000005"."""
    recipe: Recipe
    function: Callable[..., object]
    """Top-level function, called as function(*args, folder, progress) in a worker; it writes to the empty `folder`."""
    args: tuple[object, ...]
    resumable: bool = False
    """Whether the function takes a second folder after `folder`, which survives a crash, to resume from."""
    n_parts: int | None = None
    """Number of subjects or pictures that it will report as done, if known in advance."""
    part: str = ""
    """Name of a part, such as "subject"."""
    needs_gpu: bool = False
    """Whether the function needs a GPU."""

    def relabelled(self, label: str) -> Item:
        """Return the same item with another label."""
        return dataclasses.replace(self, label=label)


@dataclass(frozen=True)
class Failure:
    """A failed item."""

    label: str
    reason: str
    help: str
    details: str = ""
    """Traceback of a crash."""
    key: str = ""
    """Key of its recipe."""


@dataclass(frozen=True)
class Built:
    """Results of a list of items, in their order."""

    objects: tuple[StoredObject | None, ...]
    """Objects; None for a failed item."""
    failures: tuple[Failure, ...]


class LostWorkerError(Exception):
    """A worker was lost during an item; another attempt needs new folders."""


def make_files(
    function: Callable[..., object], args: tuple[object, ...], folders: tuple[Path, ...], progress: Progress
) -> tuple[Mapping[str, FileEntry], Mapping[str, str]]:
    """Call an item's function, then hash its files, so that the driver need not read them; runs in a worker.

    Returns the files and the versions they were made with (`tasks.environment`). Raises LostWorkerError if it was
    called with these folders before: a cluster repeats a call when it loses the worker, which may still be writing.
    Raises StoreError if the folder is not visible here or the disk is full.
    """
    try:
        (folders[0] / BEGUN_FILE).open("x").close()
    except FileExistsError as error:
        raise LostWorkerError("its worker died (killed, or out of memory)") from error
    except FileNotFoundError as error:
        raise StoreError(
            folders[0],
            f"{platform.node()} does not see the folder {folders[0]}, which the driver has created.",
            "put HEADFORGE_HOME on a file system that the driver and all workers share, at the same path.",
        ) from error
    with storage_errors(folders[0], only=DISK_ERRORS):
        function(*args, *folders, progress)
        return settle(folders[0]), made_with()


def rejection(found: StoredObject) -> Mapping[str, str] | None:
    """Return the rejection recorded in an object, or None."""
    path = found.path / REJECTED_FILE
    return json.loads(path.read_text()) if path.is_file() else None


def write_rejection(folder: Path, item: str, gate: str, reason: str, help: str) -> None:
    """Record an item's rejection in its folder."""
    fields = {"item": item, "gate": gate, "reason": reason, "help": help}
    (folder / REJECTED_FILE).write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n")
