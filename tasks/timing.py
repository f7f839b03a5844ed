"""Items that record their times, with start-up separate from work."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from headforge.progress import SILENT, Progress
from tasks.items import Item


@dataclass(frozen=True)
class ItemTime:
    """Times of one item."""

    process: int
    """Process id of the worker."""
    begin_s: float
    """Start of the item in the worker, seconds since the epoch."""
    warm_s: float
    """Warm-up before a worker's first item (compiling, loading the head); 0 for later ones."""
    work_s: float
    cpu_s: float
    """Processor time of the work."""
    end_s: float
    """End of the item, seconds since the epoch."""


def timed_item(item: Item, warm_args: tuple[object, ...], times: Path) -> Item:
    """Return the item, with an unchanged object, that also writes its `ItemTime` to the folder `times`.

    `warm_args` are arguments for a small warm-up call of its function.
    """
    return dataclasses.replace(item, function=run_timed, args=(item.function, item.args, warm_args, times))


def read_times(times: Path) -> list[ItemTime]:
    """Read the times in the order in which the items began."""
    found = [ItemTime(**json.loads(path.read_text())) for path in times.glob("*.json")]
    return sorted(found, key=lambda time: time.begin_s)


_is_warm = False


def run_timed(
    function: Callable[..., object], args: tuple[object, ...], warm_args: tuple[object, ...], times: Path, folder: Path,
    progress: Progress,
) -> None:  # fmt: skip
    """Run an item's function and write its times, after a warm-up call in a new process; runs in a worker."""
    global _is_warm
    begin_s = time.time()
    if not _is_warm:
        with tempfile.TemporaryDirectory() as scratch:
            function(*warm_args, Path(scratch), SILENT)
        _is_warm = True
    warm_s = time.time() - begin_s
    start, cpu_start = time.monotonic(), time.process_time()
    function(*args, folder, progress)
    taken = ItemTime(
        os.getpid(), begin_s, warm_s, time.monotonic() - start, time.process_time() - cpu_start, time.time()
    )
    (times / f"{os.getpid()}-{start:.6f}.json").write_text(json.dumps(asdict(taken)))
