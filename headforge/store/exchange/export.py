"""Export of a dataset, or of some subjects, to another program's format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headforge.errors import ConfigError, DataError, InputError
from headforge.progress import SILENT, Progress
from headforge.store.dataset.columns import REPAIR_HELP
from headforge.store.dataset.shards import Dataset
from headforge.store.exchange.folders import new_folder, require_plain_name
from headforge.store.exchange.formats.colmap import write_colmap
from headforge.store.exchange.formats.eg3d import write_eg3d
from headforge.store.exchange.formats.gaussianavatars import write_gaussianavatars
from headforge.store.exchange.formats.huggingface import write_huggingface
from headforge.store.exchange.formats.nerfstudio import write_nerfstudio
from headforge.store.exchange.formats.webdataset import write_webdataset
from headforge.store.exchange.heads import HeadFacts, LandmarkFinder, read_static_offsets
from headforge.store.exchange.provenance import PROVENANCE, provenance
from headforge.store.exchange.rows import StoredView, stored_views, tracked_view
from headforge.store.exchange.writing import ExportFacts, Writer
from headforge.store.files import sha256_file, write_json
from headforge.types import Track

FORMATS: Mapping[str, Writer] = {
    "webdataset": write_webdataset,
    "huggingface": write_huggingface,
    "eg3d": write_eg3d,
    "nerfstudio": write_nerfstudio,
    "colmap": write_colmap,
    "gaussianavatars": write_gaussianavatars,
}
TRACKS_HELP = "give the tracks of this dataset: --tracks data/tracked."


@dataclass(frozen=True)
class Exported:
    """Summary of an export."""

    folder: Path
    n_subjects: int
    n_views: int
    n_bytes: int
    n_left_out: int = 0
    """Views without a usable track, in an export of tracks."""


def export_dataset(
    dataset: Dataset,
    to: str,
    output: Path,
    subject_ids: Sequence[str] = (),
    progress: Progress = SILENT,
    *,
    tracks: Mapping[tuple[str, int], Track] | None = None,
    head: HeadFacts | None = None,
    landmarks: LandmarkFinder | None = None,
) -> Exported:
    """Write the subjects (default: all) in the format `to`, one of `FORMATS`, as the new folder `output`.

    The folder is written atomically. Encoded pictures are copied, one subject in memory at a time; every shard is
    hashed before it is read. `provenance.json` beside the data states its source, its licences, and whether pictures
    are synthetic. With `tracks`, cameras and head parameters are the tracks', and views whose track is missing or
    rejected are left out. `head` is the head model of the parameters, which "gaussianavatars" needs, `landmarks` its
    landmarks, which become the points of "colmap". Raises ConfigError for an unknown format, InputError for an unknown
    subject or a non-empty `output`, DataError for a damaged shard.
    """
    _require_format(to)
    chosen = _chosen(dataset, subject_ids)
    facts = ExportFacts(provenance(dataset), head, landmarks, read_static_offsets(dataset.folder))
    counts: dict[str, int] = {}
    n_views = n_left_out = 0

    def subjects() -> Iterator[list[StoredView]]:
        nonlocal n_views, n_left_out
        checked: set[Path] = set()
        progress.start(len(chosen), "subject")
        for subject_id in chosen:
            _check_shard(dataset, dataset.shard_of(subject_id), checked)
            stored = stored_views(dataset.table(subject_id))
            views = stored if tracks is None else _tracked(stored, tracks)
            n_left_out += len(stored) - len(views)
            if not views:
                progress.item_rejected(subject_id, "no view of it has a usable track")
                continue
            yield views
            n_views += len(views)
            counts[views[0]["split"]] = counts.get(views[0]["split"], 0) + 1
            progress.item_done(require_plain_name(subject_id))

    with new_folder(output) as folder:
        of_format = FORMATS[to](subjects(), facts, folder)
        if not n_views:
            raise InputError(output, f"none of the {n_left_out} views has a usable track.", TRACKS_HELP)
        made = {"n_subjects_by_split": counts, "n_views": n_views, **_about_tracks(tracks, n_left_out)}
        write_json(folder / PROVENANCE, {**facts.about, "format": to, **made, **of_format})
    return Exported(output, sum(counts.values()), n_views, _size(output), n_left_out)


def export_views(
    views: list[StoredView],
    about: Mapping[str, object],
    to: str,
    output: Path,
    *,
    head: HeadFacts | None = None,
    landmarks: LandmarkFinder | None = None,
) -> Exported:
    """Export one subject's views from outside a dataset, such as a tracked video, as `export_dataset`.

    `about` is written to `provenance.json` and needs `licences` and `synthetic_media`.
    """
    _require_format(to)
    if not views:
        raise InputError(output, "there is no view to export.", TRACKS_HELP)
    with new_folder(output) as folder:
        of_format = FORMATS[to](iter([views]), ExportFacts(about, head, landmarks), folder)
        made = {"n_subjects_by_split": {views[0]["split"]: 1}, "n_views": len(views)}
        write_json(folder / PROVENANCE, {**about, "format": to, **made, **of_format})
    return Exported(output, 1, len(views), _size(output))


def _require_format(to: str) -> None:
    if to not in FORMATS:
        known = ", ".join(FORMATS)
        raise ConfigError("to", to, f"there is no export format '{to}'.", f"choose one of {known}.")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _tracked(stored: Sequence[StoredView], tracks: Mapping[tuple[str, int], Track]) -> list[StoredView]:
    found = [(row, tracks.get((row["subject_id"], row["view"]))) for row in stored]
    return [tracked_view(row, track) for row, track in found if track is not None and track.status == "ok"]


def _about_tracks(tracks: Mapping[tuple[str, int], Track] | None, n_left_out: int) -> dict[str, object]:
    source = "the dataset's own" if tracks is None else "tracked"
    return {"cameras_and_head_parameters": source, "n_views_left_out": n_left_out}


def _chosen(dataset: Dataset, subject_ids: Sequence[str]) -> list[str]:
    known = dataset.subject_ids()
    missing = sorted(set(subject_ids) - set(known))
    if missing:
        raise InputError(
            dataset.folder,
            f"{dataset.folder} has no subject {', '.join(missing)}.",
            f"it has {len(known)}: {known[0]} to {known[-1]}." if known else "it is empty.",
        )
    return sorted(set(subject_ids)) if subject_ids else sorted(known)


def _check_shard(dataset: Dataset, path: Path, checked: set[Path]) -> None:
    if path in checked:
        return
    expected = {dataset.folder / shard["path"]: shard["sha256"] for shard in dataset.description["shards"]}
    if sha256_file(path) != expected[path]:
        raise DataError(path, f"{path} is damaged: its bytes are not those in dataset.json.", REPAIR_HELP)
    checked.add(path)
