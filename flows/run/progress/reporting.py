"""Progress output of a running stage, and the values kept for the record of the run."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from flows.run.progress.counting import Counts
from headforge.progress import Progress
from tasks.items import Item

LINE_INTERVAL_S = 10.0
"""Seconds between lines if the output is not a terminal."""


class StageProgress:
    """Progress reporter of a stage (`tasks.building.Watch`): a live bar on a terminal, periodic lines elsewhere."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.metrics: list[tuple[str, float, int]] = []
        self.images: list[tuple[str, Path]] = []
        self._lock = threading.Lock()
        self._counts = Counts()
        self._last_metric = ""
        self._last_line = time.monotonic()
        self._console = Console(file=sys.stdout, highlight=False)
        self._bar: Bar | None = None

    def __enter__(self) -> StageProgress:
        if self._console.is_terminal:
            columns = (SpinnerColumn(), TextColumn(self.stage), BarColumn(20), _LineColumn(self))
            self._bar = Bar(*columns, console=self._console, transient=True)
            self._bar.add_task(self.stage, total=1.0)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, items: Sequence[Item], unit: str) -> None:
        """Start counting new items; `unit` is their name in the plural."""
        with self._lock:
            self._last_metric = ""
            self._counts = Counts(unit, time.monotonic())
            self._counts.add((item.label, item.n_parts, item.part) for item in items)

    def end(self) -> None:
        """Print the final counts of the items."""
        counts = self._counts
        failed = f", {counts.n_failed} failed" if counts.n_failed else ""
        self.say(f"{counts.unit}: {counts.n_made} made, {counts.n_hits} found in the store{failed}")

    def item_begun(self, item: Item) -> Progress:
        """See `Watch.item_begun`."""
        self.count(lambda counts, now: counts.begin(item.label))
        return _ItemProgress(self, item.label)

    def item_ended(self, item: Item, is_hit: bool) -> None:
        """See `Watch.item_ended`."""
        self.count(lambda counts, now: counts.end(item.label, is_hit, now))

    def item_failed(self, item: Item) -> None:
        """See `Watch.item_failed`."""
        self.count(lambda counts, now: counts.fail(item.label))

    def count(self, change: Callable[[Counts, float], None]) -> None:
        """Call `change` with the counts and the time, and show the result."""
        with self._lock:
            change(self._counts, time.monotonic())
        self._show()

    def metric(self, name: str, value: float, step: int) -> None:
        """Record a metric value at `step`."""
        with self._lock:
            self.metrics.append((name, value, step))
            self._last_metric = f"{name} {value:.4g}"
        self._show()

    def image(self, name: str, path: Path) -> None:
        """Record a picture."""
        with self._lock:
            self.images.append((name, path))

    def say(self, text: str) -> None:
        """Print a permanent line."""
        self._console.print(f"{self.stage}: {text}", markup=False, soft_wrap=True)

    def line(self) -> str:
        """Return the progress so far on one line."""
        with self._lock:
            parts = [self._counts.line(time.monotonic()), self._last_metric]
        return ", ".join(part for part in parts if part)

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._counts.share)
        elif time.monotonic() - self._last_line > LINE_INTERVAL_S:
            self._last_line = time.monotonic()
            self.say(self.line())


class _ItemProgress:
    """Progress reporter of one attempt at an item."""

    def __init__(self, stage: StageProgress, label: str) -> None:
        self._stage = stage
        self._label = label

    def start(self, n_items: int, unit: str) -> None:
        self._stage.count(lambda counts, now: counts.start(self._label, n_items, unit))

    def item_done(self, item: str, n: int = 1) -> None:
        self._stage.count(lambda counts, now: counts.done(self._label, n, now))

    def item_rejected(self, item: str, reason: str) -> None:
        self._stage.count(lambda counts, now: counts.rejected(self._label))

    def metric(self, name: str, value: float, step: int) -> None:
        self._stage.metric(name, value, step)

    def image(self, name: str, path: Path) -> None:
        self._stage.image(name, path)


class _LineColumn(ProgressColumn):
    """The line beside the bar, redrawn continuously: the rate falls and the time left grows while no progress comes."""

    def __init__(self, stage: StageProgress) -> None:
        super().__init__()
        self._stage = stage

    def render(self, task: Task) -> Text:
        """Render the line; see `rich.progress.ProgressColumn`."""
        return Text(self._stage.line())
