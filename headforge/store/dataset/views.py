"""Columns of a dataset's rows without their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from headforge.errors import DataError
from headforge.store.dataset.columns import REPAIR_HELP, batched_camera, batched_params, read_json_column
from headforge.types import Camera, HeadParams

_ARRAYS = ("views", "seeds", "yaw_deg", "pitch_deg")
_TUPLES = ("subject_ids", "splits", "sources", "quality", "attributes", "timesteps", "camera_ids")


@dataclass(frozen=True)
class Views:
    """N rows of a dataset without their images, in stored order."""

    subject_ids: tuple[str, ...]
    """[N]."""
    views: np.ndarray
    """[N] int64."""
    splits: tuple[str, ...]
    """[N]."""
    sources: tuple[str, ...]
    """[N]."""
    seeds: np.ndarray
    """[N] int64."""
    camera: Camera
    """[N]."""
    params: HeadParams
    """[N]."""
    yaw_deg: np.ndarray
    """[N] float64."""
    pitch_deg: np.ndarray
    """[N] float64."""
    quality: tuple[Mapping[str, float], ...]
    """[N]."""
    attributes: tuple[Mapping[str, str], ...]
    """[N]."""
    timesteps: tuple[int | None, ...] = ()
    """[N]; None for views that share no moment with other views."""
    camera_ids: tuple[str | None, ...] = ()
    """[N]; None for views with a camera of their own."""

    def __len__(self) -> int:
        return len(self.subject_ids)

    def take(self, rows: Sequence[int]) -> Views:
        """Return the rows at these indices, in this order."""
        index = torch.as_tensor(rows, dtype=torch.int64)
        columns: dict[str, Any] = {name: getattr(self, name)[index.numpy()] for name in _ARRAYS}
        for name in _TUPLES:
            values = getattr(self, name)
            columns[name] = tuple(values[row] for row in rows) if values else ()
        return Views(camera=self.camera[index], params=self.params[index], **columns)

    @staticmethod
    def concatenate(parts: Sequence[Views]) -> Views:
        """Concatenate rows. Raises DataError unless they share one image size and one head model."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        if len({(p.camera.width, p.camera.height, p.params.model_id) for p in parts}) != 1:
            raise DataError(
                "views", "views of several picture sizes or head models can't be put together.", REPAIR_HELP
            )
        K, viewmat = (torch.cat([getattr(p.camera, name) for p in parts]) for name in ("K", "viewmat"))
        params = {name: torch.cat([p.params.tensors()[name] for p in parts]) for name in first.params.tensors()}
        columns: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in parts]) for name in _ARRAYS}
        columns |= {name: tuple(value for p in parts for value in getattr(p, name)) for name in _TUPLES}
        camera = Camera(K, viewmat, first.camera.width, first.camera.height)
        return Views(camera=camera, params=HeadParams(first.params.model_id, **params), **columns)

    @cached_property
    def rows(self) -> dict[tuple[str, int], int]:
        """Row index by (subject_id, view)."""
        return {key: row for row, key in enumerate(zip(self.subject_ids, self.views.tolist(), strict=True))}

    @cached_property
    def subject_rows(self) -> dict[str, slice]:
        """Rows of each subject, in stored order; a subject's rows are consecutive."""
        found: dict[str, slice] = {}
        for row, subject_id in enumerate(self.subject_ids):
            start = found[subject_id].start if subject_id in found else row
            found[subject_id] = slice(start, row + 1)
        return found


def decode_views(table: pa.Table) -> Views:
    """Decode the rows of a table."""
    return Views(
        subject_ids=tuple(table.column("subject_id").to_pylist()),
        views=np.array(table.column("view").to_pylist(), dtype=np.int64),
        splits=tuple(table.column("split").to_pylist()),
        sources=tuple(table.column("source").to_pylist()),
        seeds=np.array(table.column("seed").to_pylist(), dtype=np.int64),
        camera=batched_camera(table),
        params=batched_params(table),
        yaw_deg=np.array(table.column("yaw_deg").to_pylist(), dtype=np.float64),
        pitch_deg=np.array(table.column("pitch_deg").to_pylist(), dtype=np.float64),
        quality=tuple(read_json_column(table, "quality")),
        attributes=tuple(read_json_column(table, "attributes")),
        timesteps=tuple(moment_column(table, "timestep")),
        camera_ids=tuple(moment_column(table, "camera_id")),
    )


def moment_column(table: pa.Table, name: str) -> list:
    """Return an optional column; None per row if the file lacks it."""
    return table.column(name).to_pylist() if name in table.column_names else [None] * table.num_rows
