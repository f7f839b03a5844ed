"""Arguments and result of a format's writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from headforge.store.exchange.heads import HeadFacts, LandmarkFinder
from headforge.store.exchange.rows import StoredView


@dataclass(frozen=True)
class ExportFacts:
    """Facts about all subjects; each format stores those it supports."""

    about: Mapping[str, object]
    """Provenance, with at least `licences` and `synthetic_media`."""
    head: HeadFacts | None = None
    """The head model of the parameters."""
    landmarks: LandmarkFinder | None = None
    """The landmarks of the head model."""
    static_offsets: Mapping[str, Tensor] = field(default_factory=dict)
    """Metres [V, 3] added to the shaped head, by subject."""


Writer = Callable[[Iterator[list[StoredView]], ExportFacts, Path], Mapping[str, object]]
"""Writes subjects, each a list of its views, into an empty folder; returns the format's entries for
`provenance.json`."""
