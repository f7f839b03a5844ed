"""OS file locks, which the system releases when the holding process ends, also after a crash."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from headforge.store.files import storage_errors


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file, created if needed; wait until it is free."""
    descriptor = _acquire(path, 0)
    assert descriptor is not None
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def hold_free_lock(path: Path) -> Iterator[bool]:
    """Hold the lock of a file if it is free; otherwise yield False at once."""
    descriptor = _acquire(path, fcntl.LOCK_NB)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _acquire(path: Path, flags: int) -> int | None:
    """Return a descriptor that holds the lock, or None.

    Clearing unlinks a lock file while holding it; then the new file of that name is locked instead.
    """
    while True:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            with storage_errors(path):
                fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
            if _is_file_of(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_file_of(descriptor: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False
