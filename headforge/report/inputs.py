"""Inputs of a report: the folders of the other stages; each may be missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headforge import guarded
from headforge.flame.files import HEAD_FILE, load_head
from headforge.flame.model import HeadModel
from headforge.report.metric_files import MetricSet, read_metrics
from headforge.store.dataset.shards import Dataset
from headforge.store.dataset.tables import read_predictions, read_tracks
from headforge.store.images import decode_image
from headforge.types import MethodOutput, Prediction, Track


@dataclass(frozen=True)
class PortraitFolder:
    """data/tracked/portraits/<name>."""

    name: str
    path: Path
    info: Mapping[str, object]
    """track.json; empty if there is none."""

    def picture(self, file: str) -> np.ndarray | None:
        """Return one of its pictures as [H, W, 3] (or [H, W] for a mask) uint8, or None."""
        return read_picture(self.path / file)


@dataclass(frozen=True)
class VideoFolder:
    """data/tracked/videos/<name>."""

    name: str
    path: Path
    info: Mapping[str, object]
    """video.json; empty if there is none."""

    @property
    def overlay(self) -> bytes | None:
        """The overlay video of the fitted head, or None."""
        path = self.path / "overlay.mp4"
        return path.read_bytes() if path.is_file() else None

    def picture(self, file: str) -> np.ndarray | None:
        """Return one of its pictures as [H, W, 3] uint8, or None."""
        return read_picture(self.path / file)

    def tracks(self) -> Mapping[tuple[str, int], Track]:
        """Return its frames, the rejected ones too."""
        path = self.path / "tracks.parquet"
        return read_tracks(path) if path.is_file() else {}


@dataclass(frozen=True)
class AvatarFolder:
    """data/avatars/<name>, or data/avatars/<method>/<name>."""

    name: str
    path: Path
    info: Mapping[str, object]
    """avatar.json; empty if there is none."""
    method: MethodOutput
    """The method that fitted it."""

    @property
    def turntable(self) -> bytes | None:
        """The turntable video, or None."""
        path = self.path / "turntable.mp4"
        return path.read_bytes() if path.is_file() else None

    def predictions(self) -> list[Prediction]:
        """Return its renders of held-out views."""
        path = self.path / "predictions.parquet"
        return read_predictions(path) if path.is_file() else []


@dataclass(frozen=True)
class Run:
    """The data of a report, read lazily where it is large. A stage that has not run is None or empty."""

    dataset: Dataset | None
    head: HeadModel | None
    tracks: Mapping[tuple[str, int], Track]
    track_summary: Mapping[str, object]
    portraits: tuple[PortraitFolder, ...]
    portrait_rejects: tuple[Mapping[str, object], ...]
    models: Mapping[MethodOutput, Path]
    """Folders of the existing models."""
    methods: tuple[MethodOutput, ...]
    """The methods that avatars were fitted with."""
    avatars: tuple[AvatarFolder, ...]
    avatar_rejects: tuple[Mapping[str, object], ...]
    metrics: MetricSet
    predictions: tuple[Prediction, ...]
    videos: tuple[VideoFolder, ...] = ()

    @property
    def portrait_names(self) -> frozenset[str]:
        """Names of the portraits that were tracked."""
        return frozenset(portrait.name for portrait in self.portraits)

    def subject_avatars(self, method: MethodOutput | None = None) -> tuple[AvatarFolder, ...]:
        """Return the avatars of the dataset's subjects, by default those of the first method that has any."""
        found = [avatar for avatar in self.avatars if avatar.name not in self.portrait_names]
        wanted = method or next((avatar.method for avatar in found), None)
        return tuple(avatar for avatar in found if avatar.method == wanted)

    def portrait_avatars(self, name: str) -> tuple[AvatarFolder, ...]:
        """Return a portrait's avatars, one of each method that made one."""
        return tuple(avatar for avatar in self.avatars if avatar.name == name)

    def portrait_avatar(self, name: str) -> AvatarFolder | None:
        """Return the avatar of a portrait by the first method that made one, or None."""
        return next(iter(self.portrait_avatars(name)), None)


def read_run(
    dataset: Path | None,
    tracked: Path | None,
    models: Path | None,
    avatars: Path | None,
    metrics: Path | None,
    trained: Sequence[MethodOutput] = (),
    fitted: Sequence[MethodOutput] = (),
) -> Run:
    """Read the stages' folders; a path that is None or does not exist counts as a stage that has not run.

    `trained` are the models in `models`, `fitted` the methods whose avatars are in `avatars`.
    """
    tracked = tracked if tracked is not None and tracked.is_dir() else None
    folders = {model: models / model.folder for model in trained} if models is not None else {}
    folders = {model: folder for model, folder in folders.items() if folder.is_dir()}
    opened = Dataset(dataset) if dataset is not None and (dataset / "dataset.json").is_file() else None
    predictions = metrics / "details" / "predictions.parquet" if metrics is not None else None
    return Run(
        dataset=opened,
        head=_find_head([*folders.values(), dataset]),
        tracks=_read_tracks(tracked),
        track_summary=read_json(tracked / "tracks.json") if tracked else {},
        portraits=_portraits(tracked),
        portrait_rejects=_rejects(tracked),
        models=folders,
        methods=tuple(fitted),
        avatars=tuple(avatar for method in fitted for avatar in _avatars(avatars, method)),
        avatar_rejects=_rejects(avatars),
        metrics=read_metrics(metrics, [model.label for model in trained], [method.label for method in fitted]),
        predictions=tuple(read_predictions(predictions)) if predictions and predictions.is_file() else (),
        videos=_videos(tracked),
    )


def read_json(path: Path) -> Mapping[str, object]:
    """Return a JSON object from a file, empty if there is no such file. Raises DataError for anything else."""
    if not path.is_file():
        return {}
    value = guarded.read_json(path, "run the stage that writes it again.")
    return value if isinstance(value, dict) else {"items": value}


def read_picture(path: Path) -> np.ndarray | None:
    """Return a picture file decoded, or None if there is none."""
    return decode_image(path.read_bytes()) if path.is_file() else None


def _find_head(folders: Sequence[Path | None]) -> HeadModel | None:
    for folder in folders:
        if folder is not None and (folder / HEAD_FILE).is_file():
            return load_head(folder / HEAD_FILE)
    return None


def _read_tracks(tracked: Path | None) -> Mapping[tuple[str, int], Track]:
    return read_tracks(tracked) if tracked is not None and any(tracked.glob("shards/*.parquet")) else {}


def _portraits(tracked: Path | None) -> tuple[PortraitFolder, ...]:
    folders = sorted((tracked / "portraits").glob("*")) if tracked is not None else []
    return tuple(PortraitFolder(f.name, f, read_json(f / "track.json")) for f in folders if f.is_dir())


def _videos(tracked: Path | None) -> tuple[VideoFolder, ...]:
    folders = sorted((tracked / "videos").glob("*")) if tracked is not None else []
    return tuple(VideoFolder(f.name, f, read_json(f / "video.json")) for f in folders if f.is_dir())


def _rejects(folder: Path | None) -> tuple[Mapping[str, object], ...]:
    items = read_json(folder / "rejects.json").get("items", []) if folder is not None else []
    return tuple(item for item in items if isinstance(item, dict)) if isinstance(items, list) else ()


def _avatars(avatars: Path | None, method: MethodOutput) -> tuple[AvatarFolder, ...]:
    folders = sorted((avatars / method.folder).glob("*")) if avatars is not None else []
    made = [folder for folder in folders if (folder / "avatar.safetensors").is_file()]
    return tuple(AvatarFolder(folder.name, folder, read_json(folder / "avatar.json"), method) for folder in made)
