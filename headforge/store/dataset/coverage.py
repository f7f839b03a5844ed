"""Coverage table of a dataset: view counts by pose, expression, cluster and split."""

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
    """Number of views in one cell of the coverage table."""

    yaw_deg: int
    """Lower edge of the bin."""
    pitch_deg: int
    """Lower edge of the bin."""
    expression: str
    cluster: int
    """Number of the group of similar people."""
    split: str
    n_views: int
    """At least 1: empty cells have no row."""


def write_coverage(path: Path, cells: Iterable[Cell]) -> None:
    """Write the cells as Parquet."""
    found = list(cells)
    columns = {name: [getattr(cell, name) for cell in found] for name in COVERAGE_SCHEMA.names}
    write_row_groups(path, COVERAGE_SCHEMA, [columns], keys=("yaw_deg", "pitch_deg", "split"))


def read_coverage(path: Path) -> list[Cell]:
    """Read all cells of a file, in stored order."""
    return [Cell(**row) for row in read_table(path, COVERAGE_SCHEMA.names).to_pylist()]
