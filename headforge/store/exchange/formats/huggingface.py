"""A Hugging Face dataset: Parquet files whose pictures `datasets` decodes, and a dataset card.

The files are the dataset's shards separated by split; their schema marks the picture columns for `datasets`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headforge.store.dataset.columns import PICTURE_METADATA, parquet_writer, picture_values, versioned_schema
from headforge.store.dataset.shards import SCHEMA_VERSION
from headforge.store.exchange.folders import require_plain_name
from headforge.store.exchange.rows import StoredView, row_fields
from headforge.store.exchange.writing import ExportFacts

MAX_FILE_BYTES = 1 << 29
"""Approximate limit of the hub's viewer; a file is closed after the subject that exceeds it."""
CARD = """---
pretty_name: Multi-view head dataset
license: other
license_name: see-below
tags:
{tags}
configs:
- config_name: default
  data_files:
{splits}
---

# Multi-view heads

{n_subjects} people in {n_views} pictures, each with its camera and head parameters, written by headforge
{headforge_version}. {synthetic}

People are in one split only. One row is one view; cameras are world to camera with OpenCV axes and pixel centres at
+0.5, head parameters are FLAME's layout and belong to the head model named in `model_id` ("none": not known).

```python
datasets.load_dataset("path/to/this/folder")
```

## Licences

{licences}

## Provenance

Generator `{generator}`, head models {head_models}; `provenance.json` holds all settings.
"""


@dataclass
class _Split:
    writer: pq.ParquetWriter | None = None
    n_files: int = 0
    n_bytes: int = 0
    """Bytes of pictures in the open file."""
    n_subjects: int = 0
    n_views: int = 0


def write_huggingface(
    subjects: Iterator[list[StoredView]],
    facts: ExportFacts,
    folder: Path,
    max_file_bytes: int = MAX_FILE_BYTES,
) -> Mapping[str, object]:
    """Write `data/<split>-00000.parquet` … (one row group per subject) and the card `README.md`."""
    splits: dict[str, _Split] = {}
    (folder / "data").mkdir()
    try:
        for views in subjects:
            name = require_plain_name(views[0]["split"])
            _add(splits.setdefault(name, _Split()), folder, name, views)
            if splits[name].n_bytes >= max_file_bytes:
                _close(splits[name])
    finally:
        for split in splits.values():
            _close(split)
    (folder / "README.md").write_text(_card(splits, facts.about))
    return {}


def _add(split: _Split, folder: Path, name: str, views: list[StoredView]) -> None:
    schema = versioned_schema(SCHEMA_VERSION, row_fields(views[0]), PICTURE_METADATA)
    if split.writer is None:
        path = folder / "data" / f"{name}-{split.n_files:05d}.parquet"
        split.writer = parquet_writer(path, schema, keys=("subject_id", "view", "split"))
        split.n_files += 1
    columns: dict[str, object] = {key: [row[key] for row in views] for key in schema.names}
    for key in ("image", "mask"):
        columns[key] = picture_values([row[key] for row in views])
    split.writer.write_table(pa.table(columns, schema=schema), row_group_size=len(views))
    split.n_bytes += sum(len(row["image"]) + len(row["mask"]) for row in views)
    split.n_subjects += 1
    split.n_views += len(views)


def _close(split: _Split) -> None:
    if split.writer is not None:
        split.writer.close()
    split.writer, split.n_bytes = None, 0


def _card(splits: Mapping[str, _Split], about: Mapping[str, object]) -> str:
    licences = about["licences"]
    assert isinstance(licences, Mapping)
    head_models = about["head_models"]
    assert isinstance(head_models, list)
    is_synthetic = bool(about["synthetic_media"])
    return CARD.format(
        tags="\n".join(f"- {tag}" for tag in ["3d", "faces", *(["synthetic"] if is_synthetic else [])]),
        splits="\n".join(
            f"  - split: {name}\n    path: data/{name}-*.parquet" for name in sorted(splits, reverse=True)
        ),
        n_subjects=sum(split.n_subjects for split in splits.values()),
        n_views=sum(split.n_views for split in splits.values()),
        headforge_version=about["headforge_version"],
        synthetic="The pictures are synthetic media, made by a program." if is_synthetic else "",
        licences="\n".join(f"* {name}: {text}" for name, text in sorted(licences.items())) or "none stated",
        generator=about["generator"],
        head_models=", ".join(f"`{name}`" for name in head_models) or "none",
    )
