"""What a stage tells whoever watches it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Progress(Protocol):
    """Receives what a stage reports. Implementations must accept calls from several threads."""

    def start(self, n_items: int, unit: str) -> None:
        """The stage is about to work on `n_items` items, each a `unit` ("subject", "image")."""
        ...

    def item_done(self, item: str, n: int = 1) -> None:
        """`n` items ended well; `item` names the last one."""
        ...

    def item_rejected(self, item: str, reason: str) -> None:
        """One item is bad and was recorded as such."""
        ...

    def metric(self, name: str, value: float, step: int) -> None:
        """A number as a function of `step` (the count of items seen so far)."""
        ...

    def image(self, name: str, path: Path) -> None:
        """A picture worth keeping beside the numbers."""
        ...


class SilentProgress:
    """Ignores everything: the default of every stage."""

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
