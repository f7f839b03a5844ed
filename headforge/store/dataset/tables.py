"""Tables passed between stages: tracks, predictions, rejects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa

from headforge.store.dataset.columns import (
    CAMERA_FIELDS,
    PARAM_FIELDS,
    camera_columns,
    param_columns,
    read_table,
    row_cameras,
    row_params,
    versioned_schema,
    write_row_groups,
)
from headforge.store.dataset.shards import shard_paths
from headforge.store.images import decode_image, encode_png
from headforge.types import Prediction, Track

SCHEMA_VERSION = 1
TRACK_SCHEMA = versioned_schema(
    SCHEMA_VERSION,
    [
        pa.field("subject_id", pa.string()),
        pa.field("view", pa.int32()),
        pa.field("status", pa.string()),
        pa.field("reason", pa.string()),
        *CAMERA_FIELDS,
        *PARAM_FIELDS,
        pa.field("residual_px", pa.float64()),
        pa.field("n_landmarks", pa.int32()),
    ],
)
PREDICTION_SCHEMA = versioned_schema(
    SCHEMA_VERSION,
    [
        pa.field("subject_id", pa.string()),
        pa.field("view", pa.int32()),
        pa.field("method", pa.string()),
        pa.field("reference_view", pa.int32()),
        pa.field("image", pa.binary()),
    ],
)
REJECT_SCHEMA = versioned_schema(
    SCHEMA_VERSION,
    [
        pa.field("item", pa.string()),
        pa.field("gate", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("value", pa.float64()),
    ],
)


@dataclass(frozen=True)
class Reject:
    """A rejected item and the reason."""

    item: str
    """Such as "000012" or "000012/3"."""
    gate: str
    """The check it failed."""
    reason: str
    value: float | None
    """The measured value, if the check measures one."""


def write_tracks(path: Path, tracks: Iterable[Track]) -> None:
    """Write tracks as Parquet, one row group per run of rows of one subject, in the given order."""

    def groups() -> Iterable[Mapping[str, object]]:
        for _, rows in groupby(tracks, key=lambda track: track.subject_id):
            found = list(rows)
            names = ("subject_id", "view", "status", "reason", "n_landmarks")
            yield {
                **{name: [getattr(track, name) for track in found] for name in names},
                **camera_columns([track.camera for track in found]),
                **param_columns([track.params for track in found]),
                "residual_px": [_finite_or_none(track.residual_px) for track in found],
            }

    write_row_groups(path, TRACK_SCHEMA, groups(), keys=("subject_id", "view", "status"))


def read_tracks(path: Path) -> dict[tuple[str, int], Track]:
    """Read tracks by (subject_id, view) from one file or a folder with shards/*.parquet, in stored order."""
    found: dict[tuple[str, int], Track] = {}
    for file in shard_paths(path) if path.is_dir() else [path]:
        table = read_table(file, TRACK_SCHEMA.names)
        names = ("subject_id", "view", "status", "reason", "residual_px", "n_landmarks")
        columns = zip(*(table.column(name).to_pylist() for name in names), strict=True)
        for key, camera, params in zip(columns, row_cameras(table), row_params(table), strict=True):
            subject_id, view, status, reason, residual, n_landmarks = key
            residual = float("nan") if residual is None else residual
            found[subject_id, view] = Track(subject_id, view, status, reason, camera, params, residual, n_landmarks)
    return found


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write predictions as Parquet with PNG images, one row group per run of rows of one subject."""

    def groups() -> Iterable[Mapping[str, object]]:
        for _, rows in groupby(predictions, key=lambda prediction: prediction.subject_id):
            found = list(rows)
            names = ("subject_id", "view", "method", "reference_view")
            yield {
                **{name: [getattr(prediction, name) for prediction in found] for name in names},
                "image": [encode_png(prediction.image) for prediction in found],
            }

    write_row_groups(path, PREDICTION_SCHEMA, groups(), keys=("subject_id", "view", "method"))


def read_predictions(path: Path) -> list[Prediction]:
    """Read and decode all predictions of a file, in stored order."""
    table = read_table(path, PREDICTION_SCHEMA.names)
    columns = zip(*(table.column(name).to_pylist() for name in PREDICTION_SCHEMA.names), strict=True)
    return [
        Prediction(subject_id, view, method, reference_view, decode_image(image))
        for subject_id, view, method, reference_view, image in columns
    ]


def write_rejects(path: Path, rejects: Iterable[Reject]) -> None:
    """Write rejected items as Parquet; without items the file has the columns and no rows."""
    found = list(rejects)
    columns = {name: [getattr(reject, name) for reject in found] for name in ("item", "gate", "reason", "value")}
    write_row_groups(path, REJECT_SCHEMA, [columns], keys=("item", "gate"))


def read_rejects(path: Path) -> list[Reject]:
    """Read all rejected items of a file, in stored order."""
    return [Reject(**row) for row in read_table(path, REJECT_SCHEMA.names).to_pylist()]


def _finite_or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
