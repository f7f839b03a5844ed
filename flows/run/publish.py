"""Publishing results to the output folders that DVC tracks: whole folders, by rename."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from headforge.store.files import storage_errors


@contextlib.contextmanager
def published(output: Path) -> Iterator[Path]:
    """Yield a new path beside `output` that replaces it when the block ends without an error.

    Leftovers of an interrupted run are removed first; the replacement is atomic.
    """
    partial = output.with_name(f".{output.name}.partial")
    with storage_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        try:
            yield partial
            make_writable(partial)
            if output.exists():
                shutil.rmtree(output)
            partial.rename(output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def make_writable(folder: Path) -> None:
    """Make published files writable; copies from the store may be read-only."""
    for path in (folder, *folder.rglob("*")):
        if not os.access(path, os.W_OK):
            path.chmod(path.stat().st_mode | 0o200)
