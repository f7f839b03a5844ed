"""Parquet columns of cameras, head parameters and images, and a deterministic Parquet writer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from headforge.errors import DataError, NotFiniteError
from headforge.guarded import guarded, parse_json
from headforge.store.files import atomic_path, canonical_json
from headforge.types import Camera, HeadParams

FLOATS = pa.list_(pa.float32())
PARAM_COLUMNS = ("shape", "expr", "rotation", "neck", "jaw", "eyes", "translation")
CAMERA_FIELDS = [
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("K", FLOATS),
    pa.field("viewmat", FLOATS),
]
PARAM_FIELDS = [pa.field("model_id", pa.string()), *(pa.field(name, FLOATS) for name in PARAM_COLUMNS)]
PICTURE_TYPE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
"""The image type of Hugging Face's `datasets`, which decodes columns of this type named in `PICTURE_METADATA`."""
PICTURE_METADATA = {
    "huggingface": canonical_json({"info": {"features": {name: {"_type": "Image"} for name in ("image", "mask")}}})
}
REPAIR_HELP = "run headforge verify --repair, or make it again with headforge run."


def versioned_schema(version: int, fields: Sequence[pa.Field], metadata: Mapping[str, str] | None = None) -> pa.Schema:
    """Return a schema with its version in the metadata key `headforge_schema`, beside other metadata."""
    return pa.schema(fields, metadata={"headforge_schema": str(version), **(metadata or {})})


def camera_columns(cameras: Sequence[Camera]) -> dict[str, object]:
    """Return the columns `CAMERA_FIELDS` of unbatched cameras; K and viewmat row-major, float32."""
    return {
        "width": [c.width for c in cameras],
        "height": [c.height for c in cameras],
        "K": [_floats("K", c.K) for c in cameras],
        "viewmat": [_floats("viewmat", c.viewmat) for c in cameras],
    }


def param_columns(params: Sequence[HeadParams]) -> dict[str, object]:
    """Return the columns `PARAM_FIELDS` of unbatched head parameters, float32."""
    columns: dict[str, object] = {"model_id": [p.model_id for p in params]}
    for name in PARAM_COLUMNS:
        columns[name] = [_floats(name, getattr(p, name)) for p in params]
    return columns


def _floats(name: str, tensor: torch.Tensor) -> np.ndarray:
    values = tensor.detach().cpu().to(torch.float32).flatten().numpy()
    n_bad = int((~np.isfinite(values)).sum())
    if n_bad:
        raise NotFiniteError(name, n_bad, values.size)
    return values


def stacked_floats(table: pa.Table, name: str) -> torch.Tensor:
    """Return a column of equally long lists as a float32 tensor [N, length]."""
    column = table.column(name).combine_chunks()
    values = torch.from_numpy(np.array(column.flatten().to_numpy(zero_copy_only=False), dtype=np.float32))
    if len(column) and len(values) % len(column):
        raise DataError(name, f"the lists of the column {name} have different lengths.", REPAIR_HELP)
    return values.reshape(len(column), len(values) // max(len(column), 1))


def tensors_by_row(table: pa.Table, name: str) -> list[torch.Tensor]:
    """Return a list column as one float32 tensor per row; lengths may differ."""
    return [torch.tensor(row.as_py(), dtype=torch.float32, device="cpu") for row in table.column(name)]


def batched_camera(table: pa.Table) -> Camera:
    """Return the table's cameras [N]; all must have one size."""
    sizes = set(zip(table.column("width").to_pylist(), table.column("height").to_pylist(), strict=True))
    if len(sizes) != 1:
        raise DataError("width", f"pictures of {len(sizes)} sizes in one table: {sorted(sizes)}.", REPAIR_HELP)
    ((width, height),) = sizes
    K = stacked_floats(table, "K").reshape(-1, 3, 3)
    return Camera(K, stacked_floats(table, "viewmat").reshape(-1, 4, 4), width, height)


def row_cameras(table: pa.Table) -> list[Camera]:
    """Return one unbatched camera per row; sizes may differ."""
    columns = zip(
        tensors_by_row(table, "K"),
        tensors_by_row(table, "viewmat"),
        table.column("width").to_pylist(),
        table.column("height").to_pylist(),
        strict=True,
    )
    return [Camera(K.reshape(3, 3), viewmat.reshape(4, 4), w, h) for K, viewmat, w, h in columns]


def batched_params(table: pa.Table) -> HeadParams:
    """Return the table's head parameters [N]; all must belong to one head model."""
    model_ids = table.column("model_id").unique().to_pylist()
    if len(model_ids) != 1:
        raise DataError("model_id", f"parameters of {len(model_ids)} head models in one table.", REPAIR_HELP)
    return HeadParams(model_ids[0], **{name: stacked_floats(table, name) for name in PARAM_COLUMNS})


def row_params(table: pa.Table) -> list[HeadParams]:
    """Return one unbatched `HeadParams` per row; head models may differ."""
    columns = {name: tensors_by_row(table, name) for name in PARAM_COLUMNS}
    model_ids = table.column("model_id").to_pylist()
    return [
        HeadParams(model_id, **{name: values[row] for name, values in columns.items()})
        for row, model_id in enumerate(model_ids)
    ]


def picture_values(pictures: Sequence[bytes]) -> pa.Array:
    """Return a column of `PICTURE_TYPE` with encoded images and no paths."""
    paths = pa.nulls(len(pictures), pa.string())
    return pa.StructArray.from_arrays([pa.array(pictures, pa.binary()), paths], fields=list(PICTURE_TYPE))


def picture_column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return the encoded images of a column, stored as binary or as `PICTURE_TYPE`."""
    column = table.column(name)
    if not pa.types.is_struct(column.type):
        return column
    return pa.chunked_array([chunk.field("bytes") for chunk in column.chunks], pa.binary())


def json_column(values: Iterable[Mapping[str, object]]) -> list[str]:
    """Return one canonical JSON object per row."""
    return [canonical_json(dict(value)) for value in values]


def read_json_column(table: pa.Table, name: str) -> list[dict]:
    """Parse a column of JSON objects; the inverse of `json_column`."""
    return [parse_json(text) for text in table.column(name).to_pylist()]


def write_row_groups(
    path: Path, schema: pa.Schema, groups: Iterable[Mapping[str, object]], keys: Sequence[str]
) -> None:
    """Write an uncompressed Parquet file atomically, one row group for each group of columns.

    Statistics are kept for the columns `keys` only (readers use them to skip row groups). The file contains no time,
    path or random number: equal values give equal bytes under one pyarrow version.
    """
    with atomic_path(path) as temporary, parquet_writer(temporary, schema, keys) as writer:
        for group in groups:
            table = pa.table(dict(group), schema=schema)
            if table.num_rows:
                writer.write_table(table, row_group_size=table.num_rows)


def parquet_writer(path: Path, schema: pa.Schema, keys: Sequence[str]) -> pq.ParquetWriter:
    """Open a writer of uncompressed columns without dictionaries, with statistics for the columns `keys` only."""
    return pq.ParquetWriter(
        path,
        schema,
        compression="NONE",
        use_dictionary=False,
        write_statistics=list(keys),  # pyright: ignore[reportArgumentType]  pyarrow's stub knows bool only
        version="2.6",
    )


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file; DataError if it is missing or damaged."""
    if not path.is_file():
        raise DataError(path, f"{path} does not exist.", REPAIR_HELP)
    with guarded(path, "a readable Parquet file", REPAIR_HELP):
        return pq.ParquetFile(path)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file as a table; DataError if it is missing, damaged, or lacks a column."""
    with open_parquet(path) as file:
        return read_rows(path, file, None, columns)


def read_rows(
    path: Path, file: pq.ParquetFile, row_group: int | Sequence[int] | None, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read one, some or all row groups of an open Parquet file; DataError if it is damaged or lacks a column."""
    with guarded(path, "a readable Parquet file", REPAIR_HELP):
        missing = [name for name in columns or () if name not in file.schema_arrow.names]
    if missing:
        raise DataError(path, f"{path} has no column {', '.join(missing)}.", REPAIR_HELP)
    wanted = None if columns is None else list(columns)
    some = [row_group] if isinstance(row_group, int) else row_group
    groups = range(file.num_row_groups) if some is None else some
    try:
        return file.read_row_groups(list(groups), columns=wanted, use_threads=False)
    except Exception as error:  # Arrow raises whatever a wrong byte leads to
        raise DataError(path, f"{path} is damaged ({error}).", REPAIR_HELP) from error
