"""What every format's writer takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from headforge.store.exchange.heads import HeadFacts, LandmarkFinder
from headforge.store.exchange.rows import StoredView


@dataclass(frozen=True)
class ExportFacts:
    """What is known of the subjects as a whole; each format takes what it has room for."""

    about: Mapping[str, object]
    """Where they come from; `licences` and `synthetic_media` at least."""
    head: HeadFacts | None = None
    """The head model of their parameters."""
    landmarks: LandmarkFinder | None = None
    """The landmarks of that head model."""
    static_offsets: Mapping[str, Tensor] = field(default_factory=dict)
    """Metres [V, 3] added to the shaped head, by subject."""


Writer = Callable[[Iterator[list[StoredView]], ExportFacts, Path], Mapping[str, object]]
"""Writes subjects, each the list of its views, into an empty folder; returns what `provenance.json` is to say of the
format besides."""
