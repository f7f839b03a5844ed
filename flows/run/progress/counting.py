"""Counts, rate and remaining time of a list of items."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

RATE_WINDOW_S = 60.0
"""Length of the window over which the rate is computed."""


@dataclass
class _Item:
    n_parts: int | None
    n_done: int = 0
    n_rejected: int = 0
    is_ended: bool = False


class Counts:
    """Counts of items and their parts (subjects, pictures): done, cache hits, rejected, failed; rate and time left.

    The caller passes the times, in seconds.
    """

    def __init__(self, unit: str = "", now: float = 0.0) -> None:
        self.unit = unit
        """Name of the items, in the plural."""
        self.part = ""
        self.n_hits = 0
        self.n_failed = 0
        self._items: dict[str, _Item] = {}
        self._work = deque([(now, 0)])
        """(time, number of parts made); cache hits don't count."""

    def add(self, items: Iterable[tuple[str, int | None, str]]) -> None:
        """Add items as (label, number of parts or None, name of a part)."""
        for label, n_parts, part in items:
            self._items[label] = _Item(n_parts)
            self.part = part or self.part

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self._items)

    @property
    def n_ended(self) -> int:
        """Number of items made, found or failed."""
        return sum(item.is_ended for item in self._items.values())

    @property
    def n_made(self) -> int:
        """Number of items made."""
        return self.n_ended - self.n_hits - self.n_failed

    @property
    def n_parts(self) -> int | None:
        """Number of parts of all items; None while that of an item is unknown."""
        known = [item.n_parts for item in self._items.values()]
        return sum(n for n in known if n is not None) if None not in known else None

    @property
    def n_done(self) -> int:
        """Number of parts done."""
        return sum(item.n_done for item in self._items.values())

    @property
    def n_rejected(self) -> int:
        """Number of rejected parts."""
        return sum(item.n_rejected for item in self._items.values())

    @property
    def share(self) -> float:
        """Share of the work that is done, from 0 to 1."""
        if self.n_parts:
            return min(self.n_done / self.n_parts, 1.0)
        return self.n_ended / self.n_items if self.n_items else 0.0

    def begin(self, label: str) -> None:
        """Begin an item; on another attempt its counts are reset."""
        item = self._items[label]
        self._worked(-item.n_done, self._work[-1][0])
        item.n_done = item.n_rejected = 0

    def start(self, label: str, n_parts: int, part: str) -> None:
        """Set the number of parts of an item."""
        self._items[label].n_parts = n_parts
        self.part = part

    def done(self, label: str, n: int, now: float) -> None:
        """Count `n` finished parts of an item."""
        self._items[label].n_done += n
        self._worked(n, now)

    def rejected(self, label: str) -> None:
        """Count a rejected part of an item."""
        self._items[label].n_rejected += 1

    def end(self, label: str, is_hit: bool, now: float) -> None:
        """Count an item as finished."""
        item = self._items[label]
        if item.is_ended:
            return
        item.is_ended = True
        self.n_hits += is_hit
        left = (item.n_parts or 0) - item.n_done
        item.n_done += left
        self._worked(0 if is_hit else left, now)

    def fail(self, label: str) -> None:
        """Count an item as failed; its remaining parts no longer count."""
        item = self._items[label]
        item.is_ended = True
        item.n_parts = item.n_done
        self.n_failed += 1

    def rate(self, now: float) -> float:
        """Return the recent number of parts made per second."""
        then, n_then = next((entry for entry in self._work if now - entry[0] <= RATE_WINDOW_S), self._work[-1])
        return max(self._work[-1][1] - n_then, 0) / (now - then) if now > then else 0.0

    def seconds_left(self, now: float) -> float | None:
        """Return the remaining time at the recent rate; None while it is unknown."""
        rate = self.rate(now)
        return (self.n_parts - self.n_done) / rate if rate > 0 and self.n_parts is not None else None

    def line(self, now: float) -> str:
        """Render the counts as one line."""
        if not self._items:
            return ""
        parts = [f"{self.n_ended}/{self.n_items} {self.unit}"]
        if self.n_hits:
            parts.append(f"{self.n_hits} found in the store")
        if self.n_done or self.n_parts:
            parts.append(f"{self.n_done}{f'/{self.n_parts}' if self.n_parts is not None else ''} {self.part}s")
        if rate := self.rate(now):
            parts.append(f"{rate:.3g} {self.part}s/s")
        if left := self.seconds_left(now):
            parts.append(f"{_clock(left)} left")
        parts += [f"{self.n_rejected} rejected"] if self.n_rejected else []
        parts += [f"{self.n_failed} failed"] if self.n_failed else []
        return ", ".join(parts)

    def _worked(self, n: int, now: float) -> None:
        if n:
            self._work.append((now, self._work[-1][1] + n))
        while len(self._work) > 2 and now - self._work[1][0] > RATE_WINDOW_S:
            self._work.popleft()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
