"""What a person sees of a running stage, and what is kept for the record of the run."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.status import Status

LINE_INTERVAL_S = 10.0
"""Between lines where there is no terminal to redraw one on."""


class StageProgress:
    """Counts what the workers report: one line, redrawn on a terminal, repeated now and then elsewhere."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.metrics: list[tuple[str, float, int]] = []
        self.images: list[tuple[str, Path]] = []
        self._lock = threading.Lock()
        self._unit, self._done, self._total = "", 0, 0
        self._rejected = 0
        self._last_metric = ""
        self._last_line = time.monotonic()
        self._console = Console(file=sys.stdout, highlight=False)
        self._status: Status | None = None

    def __enter__(self) -> StageProgress:
        if self._console.is_terminal:
            self._status = self._console.status(self.stage)
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def begin(self) -> None:
        """Start counting something else."""
        with self._lock:
            self._unit, self._done, self._total, self._last_metric = "", 0, 0, ""

    def start(self, n_items: int, unit: str) -> None:
        """A worker is about to work on so many more items."""
        with self._lock:
            self._total = self._total + n_items if unit == self._unit else n_items
            self._done = self._done if unit == self._unit else 0
            self._unit = unit
        self._show()

    def item_done(self, item: str, n: int = 1) -> None:
        """So many items ended well."""
        with self._lock:
            self._done += n
        self._show()

    def item_rejected(self, item: str, reason: str) -> None:
        """One item was rejected."""
        with self._lock:
            self._rejected += 1
        self._show()

    def metric(self, name: str, value: float, step: int) -> None:
        """A number as a function of the items seen."""
        with self._lock:
            self.metrics.append((name, value, step))
            self._last_metric = f"{name} {value:.4g}"
        self._show()

    def image(self, name: str, path: Path) -> None:
        """A picture worth keeping."""
        with self._lock:
            self.images.append((name, path))

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(f"{self.stage}: {text}", markup=False, soft_wrap=True)

    def _line(self) -> str:
        parts = [f"{self._done}/{self._total} {self._unit}s"] if self._total else []
        parts += [f"{self._rejected} rejected"] if self._rejected else []
        parts += [self._last_metric] if self._last_metric else []
        return ", ".join(parts)

    def _show(self) -> None:
        if self._status is not None:
            self._status.update(f"{self.stage}: {self._line()}")
        elif time.monotonic() - self._last_line > LINE_INTERVAL_S:
            self._last_line = time.monotonic()
            self.say(self._line())
