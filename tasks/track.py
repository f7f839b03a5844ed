"""Items of the stage `track`: one per shard of the dataset, per portrait and per video."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headforge.errors import InputError, Rejected
from headforge.flame.files import HEAD_FILE, load_head
from headforge.priors.assets import Asset
from headforge.priors.faces.dlib_faces import DlibFaces
from headforge.priors.faces.mediapipe_faces import MediaPipeFaces
from headforge.priors.faces.mediapipe_task import TASK_FILE
from headforge.progress import Progress
from headforge.settings import params_of
from headforge.store.dataset.shards import Dataset
from headforge.store.files import sha256_file
from headforge.store.objects.store import Recipe
from headforge.track.config import TrackConfig
from headforge.track.photo.photo import track_photo
from headforge.track.track import VERSION, track_shard
from headforge.track.video.config import VideoConfig
from headforge.track.video.video import VERSION as VIDEO_VERSION
from headforge.track.video.video import track_video
from tasks.digests import shard_digests
from tasks.inputs.assets import named_asset
from tasks.inputs.head_models import head_asset
from tasks.inputs.named_inputs import LARGEST_FACE, content_of, face_of
from tasks.inputs.portraits import load_picture, picture_digest, stored_file
from tasks.items import CPU_RUNTIME, Item, write_rejection

VIDEO_LABEL = "video "
"""Prefix of a video's label, since a portrait may have the same name."""

DATASET_ONLY = (
    "camera", "landmarks", "min_face_views", "photometric", "photometric_texture_steps", "photometric_joint_steps",
    "photometric_size",
)  # fmt: skip
"""Settings that don't affect photos."""


def shard_items(config: TrackConfig, dataset: Path) -> list[Item]:
    """Return the items of a dataset, one per shard."""
    head = Dataset(dataset).head
    inputs = {"head": sha256_file(head)}
    unused = ("photo_",)
    if config.landmarks == "detected":
        unused = ("photo_fov", "photo_size", "photo_margin", "photo_max")
        inputs |= DlibFaces().weights_sha256
    params = {name: value for name, value in params_of(config).items() if not name.startswith(unused)}
    return [
        Item(
            label=f"shard {shard.stem.removeprefix('part-')}",
            recipe=Recipe("track", VERSION, params, {"shard": digest, **inputs}, CPU_RUNTIME),
            function=make_tracks,
            args=(config, shard, head),
        )
        for shard, digest in shard_digests(dataset).items()
    ]


def portrait_items(config: TrackConfig, dataset: Path, portraits: Mapping[str, str], store: Path) -> list[Item]:
    """Return one item per portrait; `portraits` as in params.yaml."""
    head = Dataset(dataset).head
    head_digest = sha256_file(head)
    return [
        Item(
            label=name,
            recipe=Recipe(
                "track_photo",
                VERSION,
                params_of(config, DATASET_ONLY) | {"name": name} | _face_param(picture),
                {"photo": picture_digest(picture), "head": head_digest},
                CPU_RUNTIME,
            ),
            function=make_portrait,
            args=(config, name, picture, store, head),
        )
        for name, picture in sorted(portraits.items())
    ]


def video_items(
    config: VideoConfig,
    dataset: Path,
    videos: Mapping[str, str],
    landmarks: Mapping[str, str],
    assets: Mapping[str, str],
    store: Path,
) -> list[Item]:
    """Return one item per video; `videos` and their `landmarks` as in params.yaml.

    Raises ConfigError if the detector needs an asset that `assets` does not name or the store does not have.
    """
    if not videos:
        return []
    detector = None if config.detector == "dlib" else named_asset(config.detector, config.detector, assets, store)
    named = head_asset(config.head, assets, store)
    head = Dataset(dataset).head if named is None else named.folder / HEAD_FILE
    head_digest = sha256_file(head)
    return [
        Item(
            label=f"{VIDEO_LABEL}{name}",
            recipe=Recipe(
                "track_video",
                VIDEO_VERSION,
                params_of(config) | {"name": name, "face": face_of(video)},
                {"video": content_of(video), "head": head_digest}
                | ({"landmarks": landmarks[name]} if name in landmarks else {})
                | ({"detector": detector.sha256} if detector is not None else {}),
                CPU_RUNTIME,
            ),
            function=make_video,
            args=(config, name, video, landmarks.get(name), detector, store, head),
            part="frame",
        )
        for name, video in sorted(videos.items())
    ]


def make_tracks(config: TrackConfig, shard: Path, head: Path, folder: Path, progress: Progress) -> None:
    """Track a shard; runs in a worker."""
    faces = DlibFaces() if config.landmarks == "detected" else None
    track_shard(config, shard, load_head(head), folder, progress, faces)


def make_portrait(
    config: TrackConfig, name: str, picture: str, store: Path, head: Path, folder: Path, progress: Progress
) -> None:
    """Track a portrait, or reject an unreadable file or a photo without a usable face; runs in a worker."""
    try:
        photo = load_picture(picture, store)
        track_photo(config, photo, name, load_head(head), DlibFaces(), folder, face_of(picture))
    except (Rejected, InputError) as error:
        _reject(error, name, folder, progress)


def make_video(
    config: VideoConfig, name: str, video: str, landmarks: str | None, detector: Asset | None, store: Path, head: Path,
    folder: Path, progress: Progress,
) -> None:  # fmt: skip
    """Track a video, or record a rejection if it can't be tracked; runs in a worker."""
    film = stored_file(content_of(video), store, "video")
    given = None if landmarks is None else stored_file(landmarks, store, "landmark")
    try:
        faces = DlibFaces() if detector is None else MediaPipeFaces(detector.folder / TASK_FILE)
        track_video(config, film, name, load_head(head), faces, folder, progress, face_of(video), given)
    except (Rejected, InputError) as error:
        _reject(error, name, folder, progress)


def _reject(error: Rejected | InputError, name: str, folder: Path, progress: Progress) -> None:
    """Record an item's rejection, without the file's path in the store, which is meaningless to users."""
    gate = error.gate if isinstance(error, Rejected) else "file"
    reason = error.reason if isinstance(error, Rejected) else error.message.replace(error.path, "the file")
    progress.item_rejected(name, reason)
    write_rejection(folder, name, gate, reason, error.help)


def _face_param(picture: str) -> dict[str, int]:
    """Return the recipe parameter of a face; empty for the largest face, to keep the recipes of earlier versions."""
    face = face_of(picture)
    return {} if face == LARGEST_FACE else {"face": face}
