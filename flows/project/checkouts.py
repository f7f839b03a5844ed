"""Register of the projects that share this machine's store."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
from collections.abc import Iterator
from pathlib import Path

from flows.project.project import BusyError, ProjectError, home
from headforge.errors import DataError
from headforge.guarded import read_json_object
from headforge.store.files import write_json

EXPERIMENTS = (".dvc", "tmp", "exps")
"""Folder in a project in which DVC runs experiments in copies of the project; their results go to its git."""
IN_USE = "in-use.lock"
NOTE_HELP = "run headforge in the project that it stands for, which writes it again, or delete it if that is gone."


class ProjectNoteError(DataError):
    """A note of a project that uses the store can't be read."""


@contextlib.contextmanager
def using_store(root: Path) -> Iterator[None]:
    """Register a project as a user of the store, and block `headforge gc --unreferenced` meanwhile."""
    register(root)
    with (home() / IN_USE).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def nobody_using_store() -> Iterator[None]:
    """Block runs; raises BusyError if one is in progress."""
    with (home() / IN_USE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                "a run is in progress; its new objects are not referenced yet.", "wait for it to end and run gc again."
            ) from error
        yield


def register(root: Path) -> None:
    """Register a project; a copy in which DVC runs an experiment counts as the project itself."""
    parts = root.parts
    starts = [n for n in range(len(parts) - len(EXPERIMENTS) + 1) if parts[n : n + len(EXPERIMENTS)] == EXPERIMENTS]
    project = Path(*parts[: starts[0]]) if starts else root
    if not (_note(project).is_file() and _is_note_of(project)):
        write_json(_note(project), {"path": str(project)})


def registered() -> list[Path]:
    """Return the registered projects."""
    return sorted(_read_note(path) for path in (home() / "checkouts").glob("*.json"))


def _read_note(note: Path) -> Path:
    named = read_json_object(note, NOTE_HELP, ProjectNoteError).get("path")
    if not isinstance(named, str) or "\0" in named or not Path(named).is_absolute():
        raise ProjectNoteError(note, f"{note} names no project.", NOTE_HELP)
    return Path(named)


def _is_note_of(project: Path) -> bool:
    try:
        return _read_note(_note(project)) == project
    except ProjectNoteError:
        return False


def forget(root: Path) -> None:
    """Unregister a project; raises ProjectError if it is not registered."""
    if not _note(root).is_file():
        known = ", ".join(map(str, registered())) or "none"
        raise ProjectError(f"{root} is not registered.", f"registered are: {known}.")
    _note(root).unlink()


def _note(root: Path) -> Path:
    return home() / "checkouts" / f"{hashlib.sha256(str(root).encode()).hexdigest()[:16]}.json"
