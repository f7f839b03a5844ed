"""Settings and files of an import, common to all formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from headforge.errors import ConfigError
from headforge.geometry.camera_check import CONVENTIONS, FINE
from headforge.store.dataset.tables import Reject
from headforge.store.exchange.frames import Frame
from headforge.store.exchange.heads import HeadFacts

SOURCES = ("real", "synthetic")


@dataclass(frozen=True)
class ImportConfig:
    """Settings of an import."""

    source: str
    """Domain of the pictures, "real" or "synthetic"; the value in an export of headforge has precedence."""
    licence: str = "not stated"
    """Licence of the pictures."""
    seed: int = 0
    """Seed of the split."""
    heldout_every: int = 6
    """One person in this many, chosen by hash, is the test split; 0: none. An export's split has precedence."""
    by_folder: bool = False
    """EG3D: whether all pictures of a folder show one person; otherwise a picture and its mirrored copy do."""
    cameras: str = FINE
    """Camera convention, a name of `CONVENTIONS`, where it is not the format's own."""
    views_per_shard: int = 1920
    """A shard is closed after the subject that brings it to this number of pictures."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.source not in SOURCES:
            raise ConfigError("source", self.source, f"source is {self.source!r}, it must be real or synthetic.",
                              "say what the pictures are: real or synthetic.")  # fmt: skip
        if self.cameras not in CONVENTIONS:
            raise ConfigError("cameras", self.cameras, f"there is no camera convention '{self.cameras}'.",
                              f"choose one of {', '.join(CONVENTIONS)}.")  # fmt: skip
        if self.heldout_every < 0 or self.views_per_shard < 1:
            raise ConfigError("heldout_every", self.heldout_every,
                              "heldout_every is below 0, or views_per_shard below 1.",
                              "give heldout_every of at least 0 and views_per_shard of at least 1.")  # fmt: skip


@dataclass(frozen=True)
class ImportSource:
    """Files of another program."""

    path: Path
    """The format's file, or a folder with one or several."""
    images: Path | None = None
    """The folder that picture names are relative to; by default the format's own."""
    masks: Path | None = None
    """A folder with gray pictures of the same names, where the format names no masks."""
    head: HeadFacts | None = None
    """The model of the format's head parameters, which no file states; without it they stay unknown."""
    head_file: Path | None = None
    """The head model's file, copied beside the shards."""


Reader = Callable[[ImportConfig, ImportSource], Iterable[Frame | Reject]]
"""Yields the frames of a source in order, and rejects for invalid entries. Raises InputError if there is nothing to
read."""
