"""Import of pictures and cameras of another program as a dataset."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headforge.errors import ConfigError, InputError
from headforge.progress import SILENT, Progress
from headforge.store.dataset.shards import HEAD_FILE, write_dataset_json, write_shard
from headforge.store.dataset.tables import Reject, write_rejects
from headforge.store.exchange.folders import new_folder
from headforge.store.exchange.formats.colmap import colmap_frames
from headforge.store.exchange.formats.eg3d import eg3d_frames
from headforge.store.exchange.formats.gaussianavatars import gaussianavatars_frames
from headforge.store.exchange.formats.nerfstudio import nerfstudio_frames
from headforge.store.exchange.frames import Frame
from headforge.store.exchange.heads import write_static_offsets
from headforge.store.exchange.provenance import stated_licences
from headforge.store.exchange.source import ImportConfig, ImportSource, Reader
from headforge.store.exchange.taking import Taker
from headforge.types import Sample

IMPORTS: Mapping[str, Reader] = {
    "eg3d": eg3d_frames,
    "nerfstudio": nerfstudio_frames,
    "colmap": colmap_frames,
    "gaussianavatars": gaussianavatars_frames,
}


@dataclass(frozen=True)
class Imported:
    """Summary of an import."""

    folder: Path
    n_subjects: int
    n_views: int
    rejects: tuple[Reject, ...]


def import_dataset(
    kind: str, config: ImportConfig, source: ImportSource, output: Path, progress: Progress = SILENT
) -> Imported:
    """Write pictures in the format `kind`, one of `IMPORTS`, as the new dataset folder `output`.

    Where `rows.parquet` of an export lies beside the pictures, people, views, splits, masks and head parameters come
    from it; otherwise head parameters are known if the format has them and `source` names their head model. Nonzero
    static offsets are written beside the shards. Raises InputError if no picture can be imported, ConfigError for an
    unknown format.
    """
    if kind not in IMPORTS:
        known = ", ".join(IMPORTS)
        raise ConfigError("kind", kind, f"there is no import format '{kind}'.", f"choose one of {known}.")
    entries = list(IMPORTS[kind](config, source))
    rejects = [entry for entry in entries if isinstance(entry, Reject)]
    taker = Taker(config, [entry for entry in entries if isinstance(entry, Frame)], source.path, rejects, progress)
    with new_folder(output) as folder:
        n_subjects = n_views = 0
        for number, subjects in enumerate(_shards(taker.subjects(), config.views_per_shard)):
            info = write_shard(folder / "shards" / f"part-{number:05d}.parquet", subjects, taker.has_moments)
            n_subjects, n_views = n_subjects + len(info.subject_ids), n_views + info.n_rows
        if not n_views:
            why = f" The first: {rejects[0].item} {rejects[0].reason}." if rejects else ""
            raise InputError(source.path, f"none of the {len(entries)} pictures of {source.path} could be taken.{why}",
                             "look at the paths and cameras in the file.")  # fmt: skip
        write_rejects(folder / "rejects.parquet", rejects)
        if source.head_file is not None:
            shutil.copyfile(source.head_file, folder / HEAD_FILE)
        write_static_offsets(folder, taker.static_offsets)
        _describe(folder, kind, config, taker.provenance, len(rejects))
    return Imported(output, n_subjects, n_views, tuple(rejects))


def _describe(folder: Path, kind: str, config: ImportConfig, provenance: Mapping[str, Any], n_rejected: int) -> None:
    is_synthetic = config.source == "synthetic" or provenance.get("synthetic_media") is True
    write_dataset_json(
        folder,
        generator=f"import-{kind}",
        params={**dataclasses.asdict(config), "synthetic_media": is_synthetic},
        licences=stated_licences(provenance) or {f"import-{kind}": config.licence},
        n_rejected=n_rejected,
    )


def _shards(subjects: Iterator[list[Sample]], n_views: int) -> Iterator[Iterator[list[Sample]]]:
    """Yield runs of subjects with at least n_views views in total; exhaust each run before the next."""

    def run(first: list[Sample]) -> Iterator[list[Sample]]:
        count = len(first)
        yield first
        while count < n_views and (following := next(subjects, None)) is not None:
            count += len(following)
            yield following

    while (first := next(subjects, None)) is not None:
        yield run(first)
