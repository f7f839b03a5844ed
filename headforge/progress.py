"""Progress reporters of stages."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Progress(Protocol):
    """Progress reporter of a stage. Implementations must accept calls from several threads."""

    def start(self, n_items: int, unit: str) -> None:
        """Report that the stage starts on `n_items` items, each a `unit` ("subject", "image")."""
        ...

    def item_done(self, item: str, n: int = 1) -> None:
        """Report that `n` items are done; `item` names the last one."""
        ...

    def item_rejected(self, item: str, reason: str) -> None:
        """Report that one item is recorded as rejected."""
        ...

    def metric(self, name: str, value: float, step: int) -> None:
        """Report the value of a metric at `step`, the count of items seen so far."""
        ...

    def image(self, name: str, path: Path) -> None:
        """Report a picture to keep beside the metrics."""
        ...


class SilentProgress:
    """Progress reporter that ignores everything: the default of every stage."""

    def start(self, n_items: int, unit: str) -> None:
        """Ignore."""

    def item_done(self, item: str, n: int = 1) -> None:
        """Ignore."""

    def item_rejected(self, item: str, reason: str) -> None:
        """Ignore."""

    def metric(self, name: str, value: float, step: int) -> None:
        """Ignore."""

    def image(self, name: str, path: Path) -> None:
        """Ignore."""


SILENT = SilentProgress()
