"""Progress output of a command that processes items: a bar on a terminal, periodic lines elsewhere."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINE_INTERVAL_S = 10.0
"""Seconds between lines if the output is not a terminal."""


class CommandProgress:
    """`Progress` of one command, on standard error: standard output holds the command's result."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._console = Console(file=sys.stderr, highlight=False)
        self._bar: Bar | None = None
        self._unit = "item"
        self._n_items = self._n_done = self._n_rejected = 0
        self._last_line = time.monotonic()

    def __enter__(self) -> CommandProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, n_items: int, unit: str) -> None:
        """Start counting `n_items` items, each a `unit`."""
        self._n_items, self._unit = n_items, unit
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, console=self._console, transient=True)
            self._bar.add_task(f"{self._command}: {unit}s", total=n_items)
            self._bar.start()

    def item_done(self, item: str, n: int = 1) -> None:
        """Count `n` items."""
        self._n_done += n
        self._show()

    def item_rejected(self, item: str, reason: str) -> None:
        """Count a rejected item."""
        self._n_rejected += 1
        self._show()

    def metric(self, name: str, value: float, step: int) -> None:
        """Ignore."""

    def image(self, name: str, path: Path) -> None:
        """Ignore."""

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._n_done + self._n_rejected)
        elif time.monotonic() - self._last_line > LINE_INTERVAL_S:
            self._last_line = time.monotonic()
            rejected = f", {self._n_rejected} rejected" if self._n_rejected else ""
            said = f"{self._command}: {self._n_done} of {self._n_items} {self._unit}s{rejected}"
            self._console.print(said, markup=False, soft_wrap=True)
