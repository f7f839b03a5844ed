"""Conversion of a reader's frames to samples, person by person."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headforge.errors import HeadforgeError
from headforge.geometry.camera_check import CONVENTIONS
from headforge.geometry.cameras import yaw_pitch_deg
from headforge.geometry.seeding import item_seed
from headforge.progress import Progress
from headforge.store.dataset.columns import PARAM_COLUMNS
from headforge.store.dataset.tables import Reject
from headforge.store.exchange.folders import PLAIN_NAME
from headforge.store.exchange.frames import BadFrame, Frame, ReadFrame, frame_reject, read_frame
from headforge.store.exchange.provenance import read_provenance
from headforge.store.exchange.rows import RowsTable, rows_beside
from headforge.store.exchange.source import SOURCES, ImportConfig
from headforge.store.images import decode_image
from headforge.types import HEAD_PARAM_SIZES, NO_HEAD_MODEL, Camera, HeadParams, Sample

NO_SEED = -1
"""`seed` of imported pictures, which have none."""
NO_MASK = {"mask": "not given: every pixel counts"}


class Taker:
    """Converts frames to samples, person by person; adds invalid frames to `rejects`."""

    def __init__(
        self, config: ImportConfig, frames: list[Frame], path: Path, rejects: list[Reject], progress: Progress
    ) -> None:
        self._config = config
        self._rejects = rejects
        self._progress = progress
        start = (path if path.is_dir() else path.parent).resolve()
        beside = rows_beside([start, *start.parents[:2]])
        self._rows_folder: Path | None = beside[0] if beside else None
        self._rows: RowsTable | None = beside[1] if beside else None
        self.provenance: Mapping[str, Any] = {} if beside is None else read_provenance(beside[0])
        self.static_offsets: dict[str, Tensor] = {}
        """[V, 3] by person; only people whose pictures state an offset."""
        self._frames = sorted(frames, key=lambda frame: (self._subject_id(frame), frame.view))
        self._size: tuple[int, int] | None = None

    @property
    def has_moments(self) -> bool:
        """Whether the exported dataset or the format has moments."""
        if self._rows is not None:
            return self._rows.has_moments
        return any(frame.timestep is not None for frame in self._frames)

    def subjects(self) -> Iterator[list[Sample]]:
        """Yield the samples of each person with at least one valid picture, one person in memory at a time."""
        self._progress.start(len(self._frames), "image")
        for subject_id, frames in groupby(self._frames, key=self._subject_id):
            samples: dict[int, Sample] = {}
            for frame in frames:
                try:
                    sample = self._sample(frame, subject_id)
                    if sample.view in samples:
                        raise BadFrame("view", f"is view {sample.view} of {subject_id}, as another picture before it")
                    samples[sample.view] = sample
                    self._progress.item_done(frame.name)
                except BadFrame as error:
                    self._rejects.append(frame_reject(frame.name, error.gate, error.reason))
                    self._progress.item_rejected(frame.name, error.reason)
            if samples:
                yield [samples[view] for view in sorted(samples)]

    def _row(self, frame: Frame) -> Mapping[str, Any] | None:
        if self._rows is None or self._rows_folder is None:
            return None
        picture = frame.picture.resolve()
        inside = picture.is_relative_to(self._rows_folder)
        return self._rows.get(picture.relative_to(self._rows_folder).as_posix()) if inside else None

    def _subject_id(self, frame: Frame) -> str:
        row = self._row(frame)
        return plain_name(frame.subject if row is None else str(row["subject_id"]))

    def _sample(self, frame: Frame, subject_id: str) -> Sample:
        read = read_frame(frame, self._size, CONVENTIONS[self._config.cameras])
        height, width = read.image.shape[:2]
        self._take_offset(read.static_offset, subject_id)
        row = self._row(frame)
        sample = self._new(frame, read, subject_id) if row is None else _known(row, read, subject_id)
        self._size = (width, height)
        return sample

    def _take_offset(self, offset: Tensor | None, subject_id: str) -> None:
        if offset is not None and not torch.equal(self.static_offsets.setdefault(subject_id, offset), offset):
            raise BadFrame("head", "has a static_offset that is not its person's")

    def _new(self, frame: Frame, read: ReadFrame, subject_id: str) -> Sample:
        yaw_deg, pitch_deg = (float(angle) for angle in yaw_pitch_deg(read.camera))
        every = self._config.heldout_every
        is_heldout = every > 0 and item_seed(self._config.seed, "split", subject_id) % every == 0
        return Sample(
            subject_id=subject_id,
            view=frame.view,
            split="test" if is_heldout else "train",
            source=self._config.source,
            seed=NO_SEED,
            image=read.image,
            mask=_full_mask(read.image) if read.mask is None else read.mask,
            camera=read.camera,
            params=read.params,
            yaw_deg=yaw_deg,
            pitch_deg=pitch_deg,
            attributes={**frame.attributes, **(NO_MASK if read.mask is None else {})},
            timestep=frame.timestep,
            camera_id=frame.camera_id,
        )


def plain_name(name: str) -> str:
    """Return a name that every format accepts; different names stay different."""
    if PLAIN_NAME.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-') or 'subject'}-{digest}"


def _full_mask(image: np.ndarray) -> np.ndarray:
    return np.full(image.shape[:2], 255, np.uint8)


def _known(row: Mapping[str, Any], read: ReadFrame, subject_id: str) -> Sample:
    """Return the sample of a picture with a row of an export. Raises BadFrame if the row is damaged."""
    try:
        mask = decode_image(row["mask"]) if read.mask is None and "mask" in row else read.mask
        yaw_deg, pitch_deg = _angles(row, read.camera)
        sample = Sample(
            subject_id=subject_id,
            view=int(row["view"]),
            split=str(row["split"]),
            source=str(row["source"]),
            seed=int(row["seed"]),
            image=read.image,
            mask=_full_mask(read.image) if mask is None else mask,
            camera=read.camera,
            params=_params(row),
            yaw_deg=yaw_deg,
            pitch_deg=pitch_deg,
            quality=json.loads(row["quality"]),
            attributes=json.loads(row["attributes"]),
            timestep=row.get("timestep"),
            camera_id=row.get("camera_id"),
        )
    except (HeadforgeError, ValueError, KeyError, TypeError) as error:
        raise BadFrame("rows", f"has a row in rows.parquet that can't be used ({error})") from error
    if (
        sample.mask.shape != read.image.shape[:2]
        or sample.source not in SOURCES
        or not PLAIN_NAME.fullmatch(sample.split)
    ):
        raise BadFrame("rows", "has a row in rows.parquet that is not of this picture")
    return sample


def _angles(row: Mapping[str, Any], camera: Camera) -> tuple[float, float]:
    """Return the row's angles if the camera is unchanged, otherwise the angles about the origin."""
    stored = torch.tensor(row["viewmat"], dtype=torch.float64).reshape(4, 4)
    if torch.allclose(stored, camera.viewmat, rtol=0, atol=1e-6):
        return float(row["yaw_deg"]), float(row["pitch_deg"])
    yaw, pitch = yaw_pitch_deg(camera)
    return float(yaw), float(pitch)


def _params(row: Mapping[str, Any]) -> HeadParams:
    if row["model_id"] == NO_HEAD_MODEL:
        return HeadParams.unknown()
    values = {name: torch.tensor(row[name], dtype=torch.float32) for name in PARAM_COLUMNS}
    for name, value in values.items():
        if not bool(torch.isfinite(value).all()) or value.shape != (HEAD_PARAM_SIZES.get(name, len(value)),):
            raise ValueError(f"{name} is not {HEAD_PARAM_SIZES.get(name, len(value))} finite numbers")
    return HeadParams(str(row["model_id"]), **values)
