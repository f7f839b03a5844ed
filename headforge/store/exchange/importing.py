"""Datasets made of pictures and cameras that another program wrote."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headforge.errors import ConfigError, HeadforgeError, InputError
from headforge.geometry.camera_check import CONVENTIONS, FINE
from headforge.geometry.cameras import yaw_pitch_deg
from headforge.geometry.seeding import item_seed
from headforge.progress import SILENT, Progress
from headforge.store.dataset.columns import PARAM_COLUMNS
from headforge.store.dataset.shards import HEAD_FILE, write_dataset_json, write_shard
from headforge.store.dataset.tables import Reject, write_rejects
from headforge.store.exchange.colmap import colmap_frames
from headforge.store.exchange.eg3d import eg3d_frames
from headforge.store.exchange.export import PROVENANCE
from headforge.store.exchange.folders import PLAIN_NAME, new_folder
from headforge.store.exchange.frames import BadFrame, Frame, ReadFrame, frame_reject, read_frame, read_json
from headforge.store.exchange.gaussianavatars import GaussianAvatarsFolders
from headforge.store.exchange.heads import HeadFacts, write_static_offsets
from headforge.store.exchange.nerfstudio import nerfstudio_frames
from headforge.store.exchange.rows import RowsTable, rows_beside
from headforge.store.images import decode_image
from headforge.types import HEAD_PARAM_SIZES, NO_HEAD_MODEL, Camera, HeadParams, Sample

SOURCES = ("real", "synthetic")
NO_SEED = -1
"""`seed` of a picture that no seed made."""
MAX_VIEW = 1 << 31
NO_MASK = {"mask": "not given: every pixel counts"}


@dataclass(frozen=True)
class ImportConfig:
    """How pictures from outside are taken."""

    source: str
    """Domain of the pictures, "real" or "synthetic"; what an export of headforge says of a picture goes first."""
    licence: str = "not stated"
    """Licence of the pictures."""
    seed: int = 0
    """Seed of the split."""
    heldout_every: int = 6
    """One person in so many, picked by hash, goes to the test split; 0: none. What an export says goes first."""
    by_folder: bool = False
    """EG3D: whether all pictures of a folder show one person; otherwise a picture and its mirrored copy do."""
    cameras: str = FINE
    """Convention the cameras are in, where it is not the format's own: a name of `CONVENTIONS`."""
    views_per_shard: int = 1920
    """A shard is closed after the person with whom it has as many pictures."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.source not in SOURCES:
            raise ConfigError("source", self.source, f"source is {self.source!r}, it must be real or synthetic.",
                              "say what the pictures are: real or synthetic.")  # fmt: skip
        if self.cameras not in CONVENTIONS:
            raise ConfigError("cameras", self.cameras, f"there is no camera convention '{self.cameras}'.",
                              f"choose one of {', '.join(CONVENTIONS)}.")  # fmt: skip
        if self.heldout_every < 0 or self.views_per_shard < 1:
            raise ConfigError("heldout_every", self.heldout_every,
                              "heldout_every is below 0, or views_per_shard below 1.",
                              "give heldout_every of at least 0 and views_per_shard of at least 1.")  # fmt: skip


@dataclass(frozen=True)
class Imported:
    """What an import made."""

    folder: Path
    n_subjects: int
    n_views: int
    rejects: tuple[Reject, ...]


def import_eg3d(
    config: ImportConfig,
    path: Path,
    output: Path,
    images: Path | None = None,
    masks: Path | None = None,
    progress: Progress = SILENT,
) -> Imported:
    """Make the new dataset folder `output` of an EG3D `dataset.json` (or its folder) and the pictures it labels.

    See `eg3d_frames` for `images` and `masks`. Where `rows.parquet` of an export lies beside the pictures, people,
    views, splits, masks and head parameters come from it; otherwise head parameters are not known. Raises InputError
    if nothing can be taken.
    """
    return _import("eg3d", config, path, output, eg3d_frames(path, images, masks, config.by_folder), progress)


def import_nerfstudio(
    config: ImportConfig,
    path: Path,
    output: Path,
    images: Path | None = None,
    masks: Path | None = None,
    progress: Progress = SILENT,
) -> Imported:
    """As `import_eg3d`, of one `transforms.json` or of all below a folder; see `nerfstudio_frames`."""
    return _import("nerfstudio", config, path, output, nerfstudio_frames(path, images, masks), progress)


def import_colmap(
    config: ImportConfig,
    path: Path,
    output: Path,
    images: Path | None = None,
    masks: Path | None = None,
    progress: Progress = SILENT,
) -> Imported:
    """As `import_eg3d`, of one sparse model in COLMAP's text format or of all below a folder; see `colmap_frames`."""
    return _import("colmap", config, path, output, colmap_frames(path, images, masks), progress)


def import_gaussianavatars(
    config: ImportConfig,
    path: Path,
    output: Path,
    images: Path | None = None,
    masks: Path | None = None,
    progress: Progress = SILENT,
    head: HeadFacts | None = None,
    head_file: Path | None = None,
) -> Imported:
    """As `import_eg3d`, of one folder as VHAP exports it or of all below a folder; see `GaussianAvatarsFolders`.

    `head` is the model of the FLAME parameters, which the files don't name; without it they stay unknown. Its file
    `head_file` is copied beside the shards, as are static offsets that are not zero (`read_static_offsets`).
    """
    found = GaussianAvatarsFolders(path, images, masks, head)

    def finish(folder: Path) -> None:
        if head_file is not None:
            shutil.copyfile(head_file, folder / HEAD_FILE)
        write_static_offsets(folder, {plain_name(name): offset for name, offset in found.offsets.items()})

    return _import("gaussianavatars", config, path, output, found.frames(), progress, finish)


IMPORTS: Mapping[str, Callable[..., Imported]] = {
    "eg3d": import_eg3d,
    "nerfstudio": import_nerfstudio,
    "colmap": import_colmap,
    "gaussianavatars": import_gaussianavatars,
}


def _import(
    kind: str,
    config: ImportConfig,
    path: Path,
    output: Path,
    found: Iterable[Frame | Reject],
    progress: Progress,
    finish: Callable[[Path], None] = lambda folder: None,
) -> Imported:
    entries = list(found)
    rejects = [entry for entry in entries if isinstance(entry, Reject)]
    taker = _Taker(config, [entry for entry in entries if isinstance(entry, Frame)], path, rejects, progress)
    with new_folder(output) as folder:
        n_subjects = n_views = 0
        for number, subjects in enumerate(_shards(taker.subjects(), config.views_per_shard)):
            info = write_shard(folder / "shards" / f"part-{number:05d}.parquet", subjects, taker.has_moments)
            n_subjects, n_views = n_subjects + len(info.subject_ids), n_views + info.n_rows
        if not n_views:
            why = f" The first: {rejects[0].item} {rejects[0].reason}." if rejects else ""
            raise InputError(path, f"none of the {len(entries)} pictures of {path} could be taken.{why}",
                             "look at the paths and cameras in the file.")  # fmt: skip
        write_rejects(folder / "rejects.parquet", rejects)
        finish(folder)
        _describe(folder, kind, config, taker.provenance, len(rejects))
    return Imported(output, n_subjects, n_views, tuple(rejects))


def _describe(folder: Path, kind: str, config: ImportConfig, provenance: Mapping[str, Any], n_rejected: int) -> None:
    is_synthetic = config.source == "synthetic" or provenance.get("synthetic_media") is True
    write_dataset_json(
        folder,
        generator=f"import-{kind}",
        params={**dataclasses.asdict(config), "synthetic_media": is_synthetic},
        licences=_stated_licences(provenance) or {f"import-{kind}": config.licence},
        n_rejected=n_rejected,
    )


def _stated_licences(provenance: Mapping[str, Any]) -> dict[str, str]:
    licences = provenance.get("licences")
    if not isinstance(licences, dict) or not all(isinstance(text, str) for text in licences.values()):
        return {}
    return {str(name): text for name, text in licences.items()}


def _shards(subjects: Iterator[list[Sample]], n_views: int) -> Iterator[Iterator[list[Sample]]]:
    """Runs of subjects with at least n_views views together; each run must be used up before the next."""

    def run(first: list[Sample]) -> Iterator[list[Sample]]:
        count = len(first)
        yield first
        while count < n_views and (following := next(subjects, None)) is not None:
            count += len(following)
            yield following

    while (first := next(subjects, None)) is not None:
        yield run(first)


class _Taker:
    """Turns frames into samples, person by person; what can't be taken is added to `rejects`."""

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
        self.provenance: Mapping[str, Any] = self._read_provenance()
        self._frames = sorted(frames, key=lambda frame: (self._subject_id(frame), frame.view))
        self._size: tuple[int, int] | None = None

    @property
    def has_moments(self) -> bool:
        """Whether the dataset that was exported had moments, or the format has."""
        if self._rows is not None:
            return self._rows.has_moments
        return any(frame.timestep is not None for frame in self._frames)

    def subjects(self) -> Iterator[list[Sample]]:
        """The samples of each person with at least one picture, one person in memory at a time."""
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

    def _read_provenance(self) -> Mapping[str, Any]:
        if self._rows_folder is None or not (self._rows_folder / PROVENANCE).is_file():
            return {}
        content = read_json(self._rows_folder / PROVENANCE, "remove it, or export the data again.")
        return content if isinstance(content, dict) else {}

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
        row = self._row(frame)
        sample = self._new(frame, read, subject_id) if row is None else _known(row, read, subject_id)
        self._size = (width, height)
        return sample

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
    """A name that every format can carry; names that differ stay different."""
    if PLAIN_NAME.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-') or 'subject'}-{digest}"


def _full_mask(image: np.ndarray) -> np.ndarray:
    return np.full(image.shape[:2], 255, np.uint8)


def _known(row: Mapping[str, Any], read: ReadFrame, subject_id: str) -> Sample:
    """A picture that an export describes. Raises BadFrame if the description is damaged."""
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
    """The row's angles if the camera is still the row's, else those about the origin."""
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
