"""Work of the stage `track`: one item per shard of the dataset and one per portrait."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headforge.errors import Rejected
from headforge.flame.files import load_head
from headforge.priors.dlib_faces import DlibFaces
from headforge.progress import Progress
from headforge.settings import params_of
from headforge.store.files import sha256_file
from headforge.store.objects import Recipe
from headforge.store.shards import Dataset
from headforge.track.photo import track_photo
from headforge.track.track import VERSION, TrackConfig, track_shard
from tasks.digests import shard_digests
from tasks.items import CPU_RUNTIME, Item, write_rejection
from tasks.portraits import load_picture, picture_digest


def shard_items(config: TrackConfig, dataset: Path) -> list[Item]:
    """One item per shard of the dataset in the folder `dataset`."""
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
    """One item per portrait; `portraits` holds what params.yaml says of them."""
    head = Dataset(dataset).head
    head_digest = sha256_file(head)
    return [
        Item(
            label=name,
            recipe=Recipe(
                "track_photo",
                VERSION,
                params_of(config, ("camera", "landmarks", "min_face_views")) | {"name": name},
                {"photo": picture_digest(picture), "head": head_digest},
                CPU_RUNTIME,
            ),
            function=make_portrait,
            args=(config, name, picture, store, head),
        )
        for name, picture in sorted(portraits.items())
    ]


def make_tracks(config: TrackConfig, shard: Path, head: Path, folder: Path, progress: Progress) -> None:
    """Runs in a worker."""
    faces = DlibFaces() if config.landmarks == "detected" else None
    track_shard(config, shard, load_head(head), folder, progress, faces)


def make_portrait(
    config: TrackConfig, name: str, picture: str, store: Path, head: Path, folder: Path, progress: Progress
) -> None:
    """Runs in a worker. A photo without a usable face is recorded as rejected."""
    photo = load_picture(picture, store)
    try:
        track_photo(config, photo, name, load_head(head), DlibFaces(), folder)
    except Rejected as error:
        progress.item_rejected(name, error.reason)
        write_rejection(folder, name, error.gate, error.reason, error.help)
