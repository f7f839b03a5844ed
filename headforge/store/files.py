"""Atomic file writes and file hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from headforge.errors import StoreError

CHUNK_BYTES = 1 << 20
MAX_NAME_BYTES = 255
"""Largest length of a part of a path on common file systems."""
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""Error numbers that always concern the disk; others may concern an input."""


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def canonical_json(value: object) -> str:
    """Return JSON with sorted keys and no spaces, the same for equal values; ValueError for NaN and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def is_relative_name(name: object) -> bool:
    """Return whether `name` is a plain path below some folder: relative, forward slashes only, without "." and ".."."""
    if not isinstance(name, str) or not name or re.match(r"/|[A-Za-z]:", name) or re.search(r"[\\\0]", name):
        return False
    return PurePosixPath(name).as_posix() == name and not {".", ".."} & set(name.split("/"))


def path_inside(folder: Path, name: str) -> Path | None:
    """Resolve a relative file name from an external file; None if it leads out of `folder`.

    Backslashes count as slashes. Links are followed.
    """
    relative = name.replace("\\", "/")
    if not relative or "\0" in relative or re.match(r"/|[A-Za-z]:", relative):
        return None
    if any(len(part.encode(errors="replace")) > MAX_NAME_BYTES for part in relative.split("/")):
        return None
    path = folder / relative
    return path if path.resolve().is_relative_to(folder.resolve()) else None


def fsync_folder(folder: Path) -> None:
    """Flush a folder to disk, so that renames in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Flush a file to disk, so that its bytes survive a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on an error.

    The folder is made if needed. The temporary name keeps the suffix, which some writers check. OSError becomes
    StoreError with advice.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=f".tmp{path.suffix}")
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            fsync_file(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
            fsync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: object) -> None:
    """Write indented JSON with sorted keys, atomically."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: object) -> bytes:
    """Return the bytes that `write_json` writes."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


@contextlib.contextmanager
def storage_errors(path: Path, only: Collection[int] | None = None) -> Iterator[None]:
    """Convert OSError for a full, read-only or forbidden path to StoreError with advice.

    `only` limits this to some error numbers, where others may not concern `path`.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _ADVICE or (only is not None and error.errno not in only):
            raise
        place = error.filename or path
        raise StoreError(place, f"{place}: {error.strerror or error}.", _ADVICE[error.errno]) from error


_ANOTHER = "set HEADFORGE_HOME (the store) or name another folder (an output, a project)"
_ADVICE = {
    errno.ENOSPC: f"free some space there, or use another disk: {_ANOTHER}.",
    errno.EDQUOT: f"your quota is used up: free some space there, or use another disk: {_ANOTHER}.",
    errno.EROFS: f"the file system is read-only, use another: {_ANOTHER}.",
    errno.EACCES: f"make the folder writable for this user (chmod, chown), or use another: {_ANOTHER}.",
    errno.EPERM: f"make the folder writable for this user (chmod, chown), or use another: {_ANOTHER}.",
    errno.ENOTDIR: "a file exists where a folder is needed: move it away.",
    errno.EISDIR: "a folder exists where a file is needed: move it away.",
    errno.ENOLCK: "the file system has no file locks: set HEADFORGE_HOME to a local disk.",
    errno.EIO: "the disk reports an error: check it, then run headforge verify --repair.",
}
