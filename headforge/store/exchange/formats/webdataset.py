"""WebDataset: tar files whose members with one basename form one sample.

Format: https://github.com/webdataset/webdataset. Members are sorted, have no time or owner, and are uncompressed,
so equal datasets give equal tars.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headforge.geometry.cameras import camera_to_eg3d
from headforge.store.exchange.folders import require_plain_name
from headforge.store.exchange.rows import StoredView, plain_values, stored_camera, view_name
from headforge.store.exchange.writing import ExportFacts
from headforge.store.files import sha256_file, write_json

MAX_TAR_BYTES = 1 << 30
"""Largest tar, about 1 GB; a tar is closed before the subject that would exceed it."""
INDEX = "index.json"


@dataclass
class _Split:
    tar: tarfile.TarFile | None = None
    counts: list[int] = field(default_factory=list)
    """Samples in each tar."""


def write_webdataset(
    subjects: Iterator[list[StoredView]], facts: ExportFacts, folder: Path, max_tar_bytes: int = MAX_TAR_BYTES
) -> Mapping[str, object]:
    """Write `<split>-000000.tar` … and `index.json` with counts, sizes and SHA-256 per tar.

    A sample is `<subject>_<view>.json` (all values, and the camera as EG3D's 25 numbers), `.mask.png` and `.png`.
    """
    splits: dict[str, _Split] = {}
    try:
        for views in subjects:
            members = [member for row in views for member in sample_members(row)]
            name = require_plain_name(views[0]["split"])
            tar = _tar_for(splits.setdefault(name, _Split()), folder, name, members, max_tar_bytes)
            for member, data in members:
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            splits[name].counts[-1] += len(views)
    finally:
        for split in splits.values():
            if split.tar:
                split.tar.close()
    shards = [
        {
            "url": path.name,
            "split": name,
            "nsamples": count,
            "filesize": path.stat().st_size,
            "sha256": sha256_file(path),
        }
        for name, split in sorted(splits.items())
        for path, count in ((_tar_path(folder, name, i), count) for i, count in enumerate(split.counts))
    ]
    stated = {name: facts.about[name] for name in ("licences", "synthetic_media")}
    write_json(folder / INDEX, {"wids_version": 1, **stated, "shardlist": shards})
    return {}


def sample_members(row: StoredView) -> list[tuple[str, bytes]]:
    """Return the names and bytes of one view's members, in order."""
    key = f"{require_plain_name(row['subject_id'])}_{view_name(row)}"
    values = {**plain_values(row), "camera_eg3d": camera_to_eg3d(stored_camera(row)).tolist()}
    text = json.dumps(values, sort_keys=True, allow_nan=False)
    return [(f"{key}.json", text.encode()), (f"{key}.mask.png", row["mask"]), (f"{key}.png", row["image"])]


def _tar_for(
    split: _Split, folder: Path, name: str, members: list[tuple[str, bytes]], max_bytes: int
) -> tarfile.TarFile:
    """Return the split's open tar, or a new one if the members would make it too large."""
    n_bytes = sum(tarfile.BLOCKSIZE * (1 + -(-len(data) // tarfile.BLOCKSIZE)) for _, data in members)
    if split.tar is not None and split.counts[-1] and split.tar.offset + n_bytes > max_bytes:
        split.tar.close()
        split.tar = None
    if split.tar is None:
        path = _tar_path(folder, name, len(split.counts))
        split.tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)
        split.counts.append(0)
    return split.tar


def _tar_path(folder: Path, split: str, number: int) -> Path:
    return folder / f"{split}-{number:06d}.tar"
