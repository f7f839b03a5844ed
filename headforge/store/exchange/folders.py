"""Output folders written atomically, and checks of file names."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from headforge.errors import DataError, InputError
from headforge.store.files import fsync_file, fsync_folder, storage_errors

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Names that every format accepts: WebDataset ends a sample's key at the first dot."""


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path` on success, remove it on an error.

    Raises InputError if `path` is a file or a non-empty folder. The next call for the same `path` removes leftovers of
    a killed process.
    """
    path = path.absolute()
    _require_free(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{path.name}."
        _remove_leftovers(path.parent, prefix)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=prefix, suffix=".tmp"))
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield temporary
            _flush(temporary)
            temporary.chmod(0o755)
            _require_free(path)
            temporary.replace(path)
            fsync_folder(path.parent)
        finally:
            os.close(descriptor)
            shutil.rmtree(temporary, ignore_errors=True)


def _require_free(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise InputError(path, f"{path} exists and is not a folder.", "name a folder that does not exist yet.")
    if path.is_dir() and any(path.iterdir()):
        raise InputError(
            path, f"{path} is not empty.", "name a folder that does not exist yet, or empty this one first."
        )


def _remove_leftovers(parent: Path, prefix: str) -> None:
    """Remove temporary folders of ended processes, whose locks the system has released."""
    for leftover in parent.glob(f"{prefix}*.tmp"):
        with contextlib.suppress(OSError):
            descriptor = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(leftover)
            finally:
                os.close(descriptor)


def _flush(folder: Path) -> None:
    for item in folder.rglob("*"):
        if item.is_dir():
            fsync_folder(item)
        else:
            fsync_file(item)
    fsync_folder(folder)


def require_plain_name(name: str) -> str:
    """Return `name` if it is a valid file name in every format. Raises DataError."""
    if not PLAIN_NAME.fullmatch(name):
        raise DataError(
            name,
            f"the subject '{name}' can't be a file name in this format.",
            "import the data again: headforge import gives subjects plain names.",
        )
    return name
