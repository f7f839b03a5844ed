"""Work of the items of benchmarks/orchestration.py; workers import it."""

from __future__ import annotations

import time
from pathlib import Path

from headforge.progress import Progress


def sleep(seconds: float, folder: Path, progress: Progress) -> None:
    """Sleep for a known time, then write a small file."""
    time.sleep(seconds)
    (folder / "slept").write_text(str(seconds))
