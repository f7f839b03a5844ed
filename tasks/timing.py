"""Items that say how long they took, start-up apart."""

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
    """What one item took."""

    process: int
    """Number of the worker's process."""
    begin_s: float
    """When the worker took the item, seconds since the epoch."""
    warm_s: float
    """What a worker does once before its first item: compiling, loading the head; 0 for its later ones."""
    work_s: float
    cpu_s: float
    """Processor time of the work."""
    end_s: float
    """Seconds since the epoch."""


def timed_item(item: Item, warm_args: tuple[object, ...], times: Path) -> Item:
    """Return the item, whose object stays the same, with its `ItemTime` as a file in the folder `times`.

    `warm_args` make its function do a little of everything.
    """
    return dataclasses.replace(item, function=run_timed, args=(item.function, item.args, warm_args, times))


def read_times(times: Path) -> list[ItemTime]:
    """Return in the order in which the items were begun."""
    found = [ItemTime(**json.loads(path.read_text())) for path in times.glob("*.json")]
    return sorted(found, key=lambda time: time.begin_s)


_is_warm = False


def run_timed(
    function: Callable[..., object], args: tuple[object, ...], warm_args: tuple[object, ...], times: Path, folder: Path,
    progress: Progress,
) -> None:  # fmt: skip
    """Runs in a worker."""
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
