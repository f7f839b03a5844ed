"""Dataset rows with encoded pictures, and the table of columns that other formats can't store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from headforge.errors import DataError
from headforge.guarded import guarded
from headforge.store.dataset.columns import (
    PARAM_COLUMNS,
    camera_columns,
    open_parquet,
    param_columns,
    parquet_writer,
    picture_column,
    read_rows,
    versioned_schema,
)
from headforge.store.dataset.shards import MOMENT_COLUMNS, MOMENT_FIELDS, SCHEMA_VERSION, SHARD_SCHEMA
from headforge.types import Camera, HeadParams, Track

StoredView = dict[str, Any]
"""A row's columns by name, as Python values: `image` and `mask` are PNG bytes, `K` and `viewmat` lists."""

ROWS = "rows.parquet"


def stored_views(table: pa.Table) -> list[StoredView]:
    """Return the rows of one subject, by ascending view."""
    pictures = {name: picture_column(table, name).to_pylist() for name in ("image", "mask")}
    rows = table.drop_columns(["image", "mask"]).to_pylist()
    found = [
        {**row, "image": image, "mask": mask}
        for row, image, mask in zip(rows, pictures["image"], pictures["mask"], strict=True)
    ]
    return sorted(found, key=lambda row: row["view"])


def stored_camera(row: StoredView) -> Camera:
    """Return the row's camera in float64, so that converted cameras round back to the stored float32."""
    K = torch.tensor(row["K"], dtype=torch.float64).reshape(3, 3)
    viewmat = torch.tensor(row["viewmat"], dtype=torch.float64).reshape(4, 4)
    return Camera(K, viewmat, row["width"], row["height"])


def stored_params(row: StoredView, model_id: str) -> HeadParams:
    """Return the row's head parameters. Raises DataError unless they belong to the head model `model_id`."""
    if row["model_id"] != model_id:
        item = f"{row['subject_id']}/{row['view']}"
        raise DataError(item, f"{item} has parameters of the head model '{row['model_id']}', not of '{model_id}'.",
                        "export pictures whose head parameters are known, with their head model.")  # fmt: skip
    return HeadParams(model_id, **{name: torch.tensor(row[name], dtype=torch.float32) for name in PARAM_COLUMNS})


def tracked_view(row: StoredView, track: Track) -> StoredView:
    """Return the row with a track's camera and head parameters."""
    columns = {**camera_columns([track.camera]), **param_columns([track.params])}
    return row | {name: _plain(values) for name, values in columns.items()}


def _plain(values: Any) -> Any:
    return values[0].tolist() if hasattr(values[0], "tolist") else values[0]


def view_name(row: StoredView) -> str:
    """Return the view number with five digits, so that names sort in view order."""
    return f"{row['view']:05d}"


def plain_values(row: StoredView) -> dict[str, object]:
    """Return all columns but the pictures as JSON values; known head parameters under `params`."""
    params = {name: row[name] for name in PARAM_COLUMNS if row[name]}
    other = {k: v for k, v in row.items() if k not in (*PARAM_COLUMNS, "image", "mask", "quality", "attributes")}
    texts = {name: json.loads(row[name]) for name in ("quality", "attributes")}
    return {**other, **texts, "params": params}


def row_fields(row: StoredView) -> list[pa.Field]:
    """Return the columns of the row's dataset, with or without moments."""
    return [*SHARD_SCHEMA, *(field for field in MOMENT_FIELDS if field.name in row)]


class RowsWriter:
    """Writes `rows.parquet`: the columns of a dataset but `image`, and `file`, the picture's name in the export."""

    def __init__(self, folder: Path, with_masks: bool) -> None:
        self._path = folder / ROWS
        self._left_out = ("image",) if with_masks else ("image", "mask")
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> RowsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, views: Sequence[StoredView], files: Sequence[str]) -> None:
        """Write one subject as one row group."""
        kept = [field for field in row_fields(views[0]) if field.name not in self._left_out]
        fields = [pa.field("mask", pa.binary()) if field.name == "mask" else field for field in kept]
        schema = versioned_schema(SCHEMA_VERSION, [pa.field("file", pa.string()), *fields])
        if self._writer is None:
            self._writer = parquet_writer(self._path, schema, keys=("file", "subject_id", "view", "split"))
        columns = {name: files if name == "file" else [row[name] for row in views] for name in schema.names}
        self._writer.write_table(pa.table(columns, schema=schema), row_group_size=len(views))


class RowsTable:
    """Reads `rows.parquet`; one row group in memory at a time. Raises DataError if a column is missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: pq.ParquetFile = open_parquet(path)
        self._columns = ["file", *(name for name in SHARD_SCHEMA.names if name not in ("image", "mask"))]
        self._columns += [name for name in ("mask", *MOMENT_COLUMNS) if name in self._file.schema_arrow.names]
        self._place = dict(self._places())
        self._group: tuple[int, list[StoredView]] = (-1, [])

    @property
    def has_moments(self) -> bool:
        """Whether the dataset has the columns of moments."""
        return set(MOMENT_COLUMNS) <= set(self._columns)

    def _places(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for group in range(self._file.num_row_groups):
            with guarded(self._path, "a readable table of rows"):
                names = read_rows(self._path, self._file, group, ["file"]).column("file").to_pylist()
            yield from ((name, (group, row)) for row, name in enumerate(names))

    def get(self, file: str) -> Mapping[str, Any] | None:
        """Return the row of a picture, or None."""
        if file not in self._place:
            return None
        group, row = self._place[file]
        if self._group[0] != group:
            with guarded(self._path, "a readable table of rows"):
                self._group = (group, read_rows(self._path, self._file, group, self._columns).to_pylist())
        return self._group[1][row]


def rows_beside(folders: Iterable[Path]) -> tuple[Path, RowsTable] | None:
    """Return the first folder with a `rows.parquet`, and its table; None if there is none."""
    for folder in folders:
        if (folder / ROWS).is_file():
            return folder, RowsTable(folder / ROWS)
    return None
