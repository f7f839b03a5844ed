"""Datasets of views: Parquet shards with one row group per subject, and dataset.json."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headforge.errors import DataError, ShapeError
from headforge.guarded import read_json_object
from headforge.store.dataset.columns import (
    CAMERA_FIELDS,
    PARAM_FIELDS,
    PICTURE_METADATA,
    PICTURE_TYPE,
    REPAIR_HELP,
    camera_columns,
    json_column,
    open_parquet,
    param_columns,
    picture_column,
    picture_values,
    read_json_column,
    read_rows,
    row_cameras,
    row_params,
    versioned_schema,
    write_row_groups,
)
from headforge.store.dataset.identities import MARKS_FILE, read_marks
from headforge.store.dataset.views import Views, decode_views, moment_column
from headforge.store.files import is_relative_name, sha256_file, write_json
from headforge.store.images import decode_image, encode_png
from headforge.types import NO_HEAD_MODEL, Sample

SCHEMA_VERSION = 2
"""2: images as {bytes, path}, which Hugging Face's `datasets` decodes; files of version 1 are read too."""
HEAD_FILE = "head_model.safetensors"
"""File of the head model of a dataset's parameters, in its folder."""
KEY_COLUMNS = ("subject_id", "view", "split", "source", "seed", "yaw_deg", "pitch_deg")
SHARD_SCHEMA = versioned_schema(
    SCHEMA_VERSION,
    [
        pa.field("subject_id", pa.string()),
        pa.field("view", pa.int32()),
        pa.field("split", pa.string()),
        pa.field("source", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("image", PICTURE_TYPE),
        pa.field("mask", PICTURE_TYPE),
        *CAMERA_FIELDS,
        pa.field("yaw_deg", pa.float64()),
        pa.field("pitch_deg", pa.float64()),
        *PARAM_FIELDS,
        pa.field("quality", pa.string()),
        pa.field("attributes", pa.string()),
    ],
    PICTURE_METADATA,
)
MOMENT_FIELDS = [pa.field("timestep", pa.int32()), pa.field("camera_id", pa.string())]
"""Last columns of datasets whose cameras share moments: rigs and videos."""
MOMENT_COLUMNS = tuple(field.name for field in MOMENT_FIELDS)
VIEW_COLUMNS = tuple(name for name in SHARD_SCHEMA.names if name not in ("image", "mask"))
MAX_OPEN_SHARDS = 256
"""Maximum of shards kept open; many systems limit a process to 1024 open files."""


@dataclass(frozen=True)
class ShardInfo:
    """Contents of a shard."""

    path: Path
    subject_ids: tuple[str, ...]
    n_rows: int
    n_bytes: int
    sha256: str


def write_shard(path: Path, subjects: Iterable[Sequence[Sample]], has_moments: bool = False) -> ShardInfo:
    """Write one row group per subject to `path`, atomically.

    A row's bytes depend on its sample only, the file's bytes on the samples and their order. Parameters and cameras are
    stored as float32, images and masks as PNG. `has_moments` adds the columns `timestep` and `camera_id`; either all
    shards of a dataset have them or none.
    """
    schema = _with_moments(SHARD_SCHEMA) if has_moments else SHARD_SCHEMA
    subject_ids: list[str] = []
    n_rows = 0

    def groups() -> Iterator[Mapping[str, object]]:
        nonlocal n_rows
        for samples in subjects:
            if samples:
                subject_ids.append(samples[0].subject_id)
                n_rows += len(samples)
                columns = _sample_columns(samples)
                yield {name: columns[name] for name in schema.names}

    write_row_groups(path, schema, groups(), keys=("subject_id", "view", "split"))
    return ShardInfo(path, tuple(subject_ids), n_rows, path.stat().st_size, sha256_file(path))


def _sample_columns(samples: Sequence[Sample]) -> dict[str, object]:
    ids = {sample.subject_id for sample in samples}
    if len(ids) != 1:
        raise ValueError(f"a row group holds one subject, found {sorted(ids)}")
    for sample in samples:
        size = (sample.camera.height, sample.camera.width)
        if sample.image.shape != (*size, 3) or sample.mask.shape != size:
            raise ShapeError("image and mask", f"{(*size, 3)} and {size}", sample.image.shape + sample.mask.shape)
    return {
        **{name: [getattr(sample, name) for sample in samples] for name in KEY_COLUMNS},
        "image": picture_values([encode_png(sample.image) for sample in samples]),
        "mask": picture_values([encode_png(sample.mask) for sample in samples]),
        **camera_columns([sample.camera for sample in samples]),
        **param_columns([sample.params for sample in samples]),
        "quality": json_column(sample.quality for sample in samples),
        "attributes": json_column(sample.attributes for sample in samples),
        **{name: [getattr(sample, name) for sample in samples] for name in MOMENT_COLUMNS},
    }


def _with_moments(schema: pa.Schema) -> pa.Schema:
    return pa.schema([*schema, *MOMENT_FIELDS], metadata=schema.metadata)


def _stored(file: pq.ParquetFile, columns: Iterable[str]) -> list[str]:
    """Return `columns` and the `MOMENT_COLUMNS` that the file has."""
    return [*columns, *(name for name in MOMENT_COLUMNS if name in file.schema_arrow.names)]


def read_shard_samples(path: Path) -> list[Sample]:
    """Read and decode all rows of one shard, in stored order."""
    with open_parquet(path) as file:
        return _decode_samples(read_rows(path, file, None, _stored(file, SHARD_SCHEMA.names)))


def read_shard_views(path: Path) -> Views:
    """Read all rows of one shard without their images."""
    with open_parquet(path) as file:
        return decode_views(read_rows(path, file, None, _stored(file, VIEW_COLUMNS)))


def read_shard_pictures(path: Path, column: str = "image") -> Iterator[list[np.ndarray]]:
    """Yield the images [H, W, 3] uint8, or masks [H, W], of each subject in stored order, decoded lazily."""
    with open_parquet(path) as file:
        for group in range(file.num_row_groups):
            table = read_rows(path, file, group, (column,))
            yield [decode_image(data) for data in picture_column(table, column).to_pylist()]


def _decode_samples(table: pa.Table) -> list[Sample]:
    cameras, params = row_cameras(table), row_params(table)
    quality, attributes = read_json_column(table, "quality"), read_json_column(table, "attributes")
    timesteps, camera_ids = moment_column(table, "timestep"), moment_column(table, "camera_id")
    images, masks = (picture_column(table, name).to_pylist() for name in ("image", "mask"))
    rows = table.select(KEY_COLUMNS).to_pylist()
    return [
        Sample(
            **{name: row[name] for name in KEY_COLUMNS},
            image=decode_image(images[i]),
            mask=decode_image(masks[i]),
            camera=cameras[i],
            params=params[i],
            quality=quality[i],
            attributes=attributes[i],
            timestep=timesteps[i],
            camera_id=camera_ids[i],
        )
        for i, row in enumerate(rows)
    ]


def write_dataset_json(
    folder: Path,
    *,
    generator: str,
    params: Mapping[str, object],
    licences: Mapping[str, str],
    n_rejected: int = 0,
) -> dict[str, object]:
    """Write `folder`/dataset.json from the shards in `folder`/shards; return its content.

    `params` are the settings the dataset was made with; `licences` maps each source of the data to its licence.
    It contains no date and no path.
    """
    shards: list[dict[str, object]] = []
    splits: dict[str, int] = {}
    head_models: set[str] = set()
    n_views = 0
    for path in shard_paths(folder):
        with open_parquet(path) as file:
            table = read_rows(path, file, None, ("subject_id", "split", "model_id"))
        subjects = dict(zip(table.column("subject_id").to_pylist(), table.column("split").to_pylist(), strict=True))
        for split in subjects.values():
            splits[split] = splits.get(split, 0) + 1
        head_models.update(table.column("model_id").unique().to_pylist())
        n_views += table.num_rows
        shards.append(
            {
                "path": f"shards/{path.name}",
                "sha256": sha256_file(path),
                "n_bytes": path.stat().st_size,
                "n_subjects": len(subjects),
                "n_views": table.num_rows,
            }
        )
    description: dict[str, object] = {
        "schema_version": SCHEMA_VERSION,
        "generator": generator,
        "head_models": sorted(head_models - {NO_HEAD_MODEL}),
        "n_subjects": sum(splits.values()),
        "n_subjects_by_split": splits,
        "n_views": n_views,
        "n_rejected": n_rejected,
        "licences": dict(licences),
        "params": dict(params),
        "shards": shards,
    }
    write_json(folder / "dataset.json", description)
    return description


def shard_paths(folder: Path) -> list[Path]:
    """Return the shards of a dataset or of tracks, in order."""
    return sorted((folder / "shards").glob("*.parquet"))


class Dataset:
    """A dataset folder: shards, dataset.json, the head model its parameters belong to.

    Opens lazily; safe to pickle (reopened by path). `skip_marked` skips the near-duplicate identities in
    marks.parquet. Raises DataError if the folder, a shard, a subject or a required marks.parquet is missing.
    """

    def __init__(self, folder: Path, skip_marked: bool = False) -> None:
        self.folder = Path(folder)
        self.skip_marked = skip_marked
        path = self.folder / "dataset.json"
        if not path.is_file():
            raise DataError(path, f"{self.folder} is not a dataset: it has no dataset.json.", REPAIR_HELP)
        self.description = read_json_object(path, REPAIR_HELP)
        self._open: dict[Path, pq.ParquetFile] = {}

    def __reduce__(self) -> tuple[type[Dataset], tuple[Path, bool]]:
        return Dataset, (self.folder, self.skip_marked)

    def reopened(self) -> Dataset:
        """Return the same dataset with separate open files, for another thread."""
        return Dataset(self.folder, self.skip_marked)

    @property
    def head(self) -> Path:
        """Path of the head model's file, for `headforge.flame.files.load_head`."""
        return self.folder / HEAD_FILE

    @property
    def views(self) -> tuple[int, ...]:
        """View numbers that occur, ascending."""
        return tuple(sorted({view for numbers in self._index.values() for view in numbers.views}))

    @property
    def image_size(self) -> int:
        """Width of the pictures in pixels."""
        return self.parameters().camera.width

    def subject_ids(self, split: str | None = None) -> list[str]:
        """Return the subjects in stored order, all or those of one split."""
        return [name for name, entry in self._index.items() if split in (None, entry.split)]

    def __len__(self) -> int:
        """Return the number of views of all subjects."""
        return sum(len(entry.views) for entry in self._index.values())

    def __getitem__(self, index: int) -> Sample:
        """Return the view at this position in stored order, decoded; IndexError past the end."""
        row = operator.index(index)
        row += len(self) if row < 0 else 0
        if row >= 0:
            for subject_id, entry in self._index.items():
                if row < len(entry.views):
                    return self.sample(subject_id, entry.views[row])
                row -= len(entry.views)
        raise IndexError(f"{self.folder} has {len(self)} views, there is none with the number {index}")

    def __iter__(self) -> Iterator[Sample]:
        """Yield all views in stored order, decoded lazily; a subject's rows are read together."""
        for subject_id in self._index:
            yield from self.samples(subject_id)

    def views_of(self, subject_id: str) -> list[int]:
        """Return the view numbers of one subject, in stored order."""
        return list(self._entry(subject_id).views)

    def samples(self, subject_id: str) -> list[Sample]:
        """Return all views of one subject, decoded, in stored order."""
        return _decode_samples(self._rows(self._entry(subject_id)))

    def table(self, subject_id: str) -> pa.Table:
        """Return all columns of one subject's rows, in stored order, with encoded images."""
        return self._rows(self._entry(subject_id))

    def tables(self, subject_ids: Sequence[str]) -> pa.Table:
        """Return the concatenated `table` of several subjects; rows in one file are read together."""
        found: dict[str, pa.Table] = {}
        for path in dict.fromkeys(self._entry(name).path for name in subject_ids):
            names = [name for name in subject_ids if self._entry(name).path == path]
            file = self._file(path)
            groups = [self._entry(name).row_group for name in names]
            table, row = read_rows(path, file, groups, _stored(file, SHARD_SCHEMA.names)), 0
            for name in names:
                n_rows = len(self._entry(name).views)
                found[name] = table.slice(row, n_rows)
                row += n_rows
        return pa.concat_tables([found[name] for name in subject_ids])

    def shard_of(self, subject_id: str) -> Path:
        """Return the file that holds a subject's rows."""
        return self._entry(subject_id).path

    def sample(self, subject_id: str, view: int) -> Sample:
        """Return one view of one subject, decoded."""
        entry = self._entry(subject_id)
        if view not in entry.views:
            raise DataError(entry.path, f"{self.folder} has no view {view} of {subject_id}.", REPAIR_HELP)
        return _decode_samples(self._rows(entry).slice(entry.views.index(view), 1))[0]

    def parameters(self) -> Views:
        """Return all columns but the images, for all rows; cached after the first read."""
        return self._parameters

    @cached_property
    def _parameters(self) -> Views:
        tables = [
            read_rows(path, self._file(path), None, _stored(self._file(path), VIEW_COLUMNS)) for path in self._paths
        ]
        table = pa.concat_tables(tables)
        if self._skipped:
            names = pa.array(sorted(self._skipped))
            table = table.filter(pc.invert(pc.is_in(table.column("subject_id"), names)))  # pyright: ignore[reportAttributeAccessIssue]
        return decode_views(table)

    @cached_property
    def _skipped(self) -> frozenset[str]:
        if not self.skip_marked:
            return frozenset()
        return frozenset(mark.subject_id for mark in read_marks(self.folder / MARKS_FILE))

    @cached_property
    def _paths(self) -> list[Path]:
        """Paths of the shards, checked for size only; `headforge verify` checks the bytes."""
        paths = []
        for shard in _shards(self.folder / "dataset.json", self.description):
            path = self.folder / shard["path"]
            found = path.stat().st_size if path.is_file() else None
            if found != shard["n_bytes"]:
                state = "is missing" if found is None else f"has {found} bytes instead of {shard['n_bytes']}"
                raise DataError(path, f"{path} {state}.", REPAIR_HELP)
            paths.append(path)
        return paths

    @cached_property
    def _index(self) -> dict[str, _Entry]:
        index: dict[str, _Entry] = {}
        for path in self._paths:
            file = self._file(path)
            table = read_rows(path, file, None, ("subject_id", "view", "split"))
            row = 0
            for group in range(file.num_row_groups):
                rows = table.slice(row, file.metadata.row_group(group).num_rows).to_pydict()
                row += len(rows["view"])
                if rows["subject_id"][0] in self._skipped:
                    continue
                index[rows["subject_id"][0]] = _Entry(path, group, rows["split"][0], tuple(rows["view"]))
        return index

    def _entry(self, subject_id: str) -> _Entry:
        if subject_id not in self._index:
            raise DataError(self.folder, f"{self.folder} has no subject {subject_id}.", REPAIR_HELP)
        return self._index[subject_id]

    def _rows(self, entry: _Entry) -> pa.Table:
        file = self._file(entry.path)
        return read_rows(entry.path, file, entry.row_group, _stored(file, SHARD_SCHEMA.names))

    def _file(self, path: Path) -> pq.ParquetFile:
        if path not in self._open:
            while len(self._open) >= MAX_OPEN_SHARDS:
                self._open.pop(next(iter(self._open))).close()
            self._open[path] = open_parquet(path)
        return self._open[path]


def _shards(path: Path, description: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of the shards; DataError unless each names a file inside the dataset, and its size."""
    shards = description.get("shards")
    for shard in shards if isinstance(shards, list) else [None]:
        named = shard.get("path") if isinstance(shard, dict) else None
        if not isinstance(shard, dict) or not is_relative_name(named) or "n_bytes" not in shard:
            raise DataError(path, f"{path} does not list its shards as files of the dataset.", REPAIR_HELP)
    return shards or []


@dataclass(frozen=True)
class _Entry:
    """Location of a subject's rows."""

    path: Path
    row_group: int
    split: str
    views: tuple[int, ...]
