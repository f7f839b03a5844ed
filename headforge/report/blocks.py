"""Contents of a report page: pictures and the blocks that hold them. page.py renders them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from headforge.errors import ShapeError
from headforge.store.images import encode_png


@dataclass(frozen=True)
class Picture:
    """One picture, decoded, with its alternative text."""

    image: np.ndarray
    """[H, W, 3] uint8."""
    alt: str
    note: str = ""
    """A short line under the picture, such as "31.2 dB"."""
    lossless: bool = True
    """PNG if true, JPEG otherwise."""

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ShapeError("Picture.image", "[H, W, 3] uint8", self.image.shape)

    def png(self) -> bytes:
        """Return the picture as PNG bytes."""
        return encode_png(self.image)


@dataclass(frozen=True)
class Video:
    """A silent looping video."""

    mp4: bytes
    alt: str
    note: str = ""


@dataclass(frozen=True)
class Card:
    """One headline number with its baselines."""

    label: str
    value: str
    unit: str = ""
    detail: str = ""
    """What it was measured on, such as "40 held-out identities"."""
    baselines: tuple[tuple[str, str], ...] = ()
    """(name, value) pairs."""


@dataclass(frozen=True)
class Cards:
    """Headline numbers side by side."""

    cards: tuple[Card, ...]


@dataclass(frozen=True)
class GridRow:
    """One row of a grid. A missing picture is None."""

    label: str
    cells: tuple[Picture | None, ...]


@dataclass(frozen=True)
class Grid:
    """Pictures to compare: the same quantity in each column, one case per row."""

    columns: tuple[str, ...]
    rows: tuple[GridRow, ...]
    caption: str = ""
    group: int = 0
    """Columns that belong together, such as 3 for (truth, render, error) repeated; 0 for no groups."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ShapeError("GridRow.cells", f"[{len(self.columns)}]", (len(row.cells),))


@dataclass(frozen=True)
class Gallery:
    """Independent pictures or videos in rows that fill the width."""

    items: tuple[Picture | Video, ...]
    caption: str = ""
    size: str = "medium"
    """Width of an item: "small", "medium" or "large"."""


@dataclass(frozen=True)
class Chart:
    """An SVG drawing in the page's colours."""

    svg: str
    caption: str = ""


@dataclass(frozen=True)
class Charts:
    """Charts side by side."""

    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class Table:
    """Text in columns; the first is a name, the others are aligned as numbers if `numeric`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numeric: bool = True
    emphasised: frozenset[int] = frozenset()
    """Rows to set in bold."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ShapeError("Table.rows", f"[{len(self.columns)}]", (len(row),))


@dataclass(frozen=True)
class Note:
    """A sentence. `kind` is "plain", "missing" (something this run did not make) or "warning"."""

    text: str
    kind: str = "plain"


@dataclass(frozen=True)
class Folded:
    """Collapsed blocks under a summary line."""

    summary: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class ViewerBlock:
    """The interactive viewer: one entry per avatar."""

    entries: tuple[ViewerEntry, ...]


@dataclass(frozen=True)
class ViewerEntry:
    """One avatar for the viewer."""

    name: str
    meta: Mapping[str, object]
    """Data for viewer.js besides the payload; plain JSON."""
    payload: bytes
    """The packed, deflated planes of `viewer.pack_avatar`."""
    fallback: Video | None = None
    """Shown where there is no WebGL 2."""


Block = Cards | Grid | Gallery | Chart | Charts | Table | Note | Folded | ViewerBlock


@dataclass(frozen=True)
class Section:
    """A titled part of the page."""

    anchor: str
    """The id a link goes to; letters and hyphens."""
    title: str
    lead: str
    """One or two sentences under the title."""
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Hero:
    """The top of the page."""

    title: str
    subtitle: str
    facts: tuple[str, ...] = ()
    """Short statements of what ran, such as "240 subjects x 24 views"."""
    pictures: tuple[Picture | Video, ...] = ()
    cards: Cards = field(default_factory=lambda: Cards(()))


@dataclass(frozen=True)
class Page:
    """The whole report."""

    hero: Hero
    sections: Sequence[Section]
