"""Identity tables of a dataset: identity vectors, clusters and near-duplicate identities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from headforge.store.dataset.columns import read_table, versioned_schema, write_row_groups

SCHEMA_VERSION = 1
IDENTITIES_FILE, MARKS_FILE = "identities.parquet", "marks.parquet"
MARK_KINDS = ("duplicate", "leak")
IDENTITY_SCHEMA = versioned_schema(
    SCHEMA_VERSION,
    [
        pa.field("subject_id", pa.string()),
        pa.field("split", pa.string()),
        pa.field("cluster", pa.int32()),
        pa.field("vector", pa.list_(pa.float32())),
    ],
)
MARK_SCHEMA = versioned_schema(
    SCHEMA_VERSION,
    [
        pa.field("subject_id", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("other_id", pa.string()),
        pa.field("distance", pa.float64()),
    ],
)


@dataclass(frozen=True)
class Identity:
    """One identity of a dataset."""

    subject_id: str
    split: str
    cluster: int
    """Number of the group of similar people."""
    vector: np.ndarray
    """[D] float32; the Euclidean distance measures how different two people are. Empty if not measured."""


@dataclass(frozen=True)
class Mark:
    """A near-duplicate of an earlier identity."""

    subject_id: str
    kind: str
    """"duplicate": both are in one split; "leak": they are in different splits."""
    other_id: str
    """The nearest earlier identity of the kind."""
    distance: float


def write_identities(path: Path, identities: Iterable[Identity]) -> None:
    """Write identities as Parquet."""
    found = list(identities)
    columns: dict[str, object] = {
        name: [getattr(one, name) for one in found] for name in ("subject_id", "split", "cluster")
    }
    columns["vector"] = [np.asarray(one.vector, dtype=np.float32) for one in found]
    write_row_groups(path, IDENTITY_SCHEMA, [columns], keys=("subject_id", "split"))


def read_identities(path: Path) -> list[Identity]:
    """Read all identities of a file, in stored order."""
    rows = read_table(path, IDENTITY_SCHEMA.names).to_pylist()
    return [Identity(**{**row, "vector": np.array(row["vector"], dtype=np.float32)}) for row in rows]


def write_marks(path: Path, marks: Iterable[Mark]) -> None:
    """Write marks as Parquet; without marks the file has the columns and no rows."""
    found = list(marks)
    columns = {name: [getattr(mark, name) for mark in found] for name in MARK_SCHEMA.names}
    write_row_groups(path, MARK_SCHEMA, [columns], keys=("subject_id", "kind"))


def read_marks(path: Path) -> list[Mark]:
    """Read all marks of a file, in stored order."""
    return [Mark(**row) for row in read_table(path, MARK_SCHEMA.names).to_pylist()]
