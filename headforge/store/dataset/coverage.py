"""The table of what a dataset shows how often."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from headforge.store.dataset.columns import read_table, versioned_schema, write_row_groups

SCHEMA_VERSION = 1
COVERAGE_FILE = "coverage.parquet"
COVERAGE_SCHEMA = versioned_schema(
    SCHEMA_VERSION,
    [
        pa.field("yaw_deg", pa.int32()),
        pa.field("pitch_deg", pa.int32()),
        pa.field("expression", pa.string()),
        pa.field("cluster", pa.int32()),
        pa.field("split", pa.string()),
        pa.field("n_views", pa.int64()),
    ],
)


@dataclass(frozen=True)
class Cell:
    """How many views are alike in everything that is counted by."""

    yaw_deg: int
    """Lower edge of the bin."""
    pitch_deg: int
    """Lower edge of the bin."""
    expression: str
    cluster: int
    """Number of the group of similar people."""
    split: str
    n_views: int
    """At least 1: what is not shown has no row."""


def write_coverage(path: Path, cells: Iterable[Cell]) -> None:
    """Write counts as Parquet."""
    found = list(cells)
    columns = {name: [getattr(cell, name) for cell in found] for name in COVERAGE_SCHEMA.names}
    write_row_groups(path, COVERAGE_SCHEMA, [columns], keys=("yaw_deg", "pitch_deg", "split"))


def read_coverage(path: Path) -> list[Cell]:
    """Return all counts of a file, in stored order."""
    return [Cell(**row) for row in read_table(path, COVERAGE_SCHEMA.names).to_pylist()]
