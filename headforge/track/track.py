"""The stage `track` on a dataset: landmarks, one fit per subject, a table of tracks and their quality."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from itertools import repeat
from pathlib import Path

from headforge.flame.model import HeadModel
from headforge.progress import SILENT, Progress
from headforge.store.dataset.shards import read_shard_pictures
from headforge.store.dataset.tables import write_tracks
from headforge.track.config import TrackConfig
from headforge.track.observe import FaceDetector
from headforge.track.photometric.tracks import SubjectPictures
from headforge.track.quality import summarize_quality
from headforge.track.subject import observe_subject, read_subjects, stage_basis, track_subject
from headforge.track.views.camera_check import require_known_convention
from headforge.types import Track

VERSION = 1


def track_shard(
    config: TrackConfig,
    shard: Path,
    head: HeadModel,
    output: Path,
    progress: Progress = SILENT,
    faces: FaceDetector | None = None,
) -> dict[str, int]:
    """Track every subject of the dataset shard `shard` (part.parquet) and return the counts of ok and rejected views.

    `faces` detects the landmarks if the settings ask for detection. Writes `output`/part.parquet (one row per view) and
    `output`/quality.json (one entry per subject). A subject's rows don't depend on the other subjects of the shard.
    Known cameras are checked against the first subject whose landmarks allow it. Raises DataError if they are in
    another convention.
    """
    subjects = read_subjects(shard)
    basis = stage_basis(head)
    needed = faces is not None or config.photometric
    pictures = read_shard_pictures(shard) if needed else repeat(())
    masks = read_shard_pictures(shard, "mask") if config.photometric else repeat(())
    progress.start(len(subjects), "subject")
    tracks: list[Track] = []
    quality: dict[str, dict[str, float]] = {}
    is_checked = config.camera != "known"
    for subject, images, alphas in zip(subjects, pictures, masks, strict=False):
        seen = observe_subject(config, subject, head, images, faces)
        is_checked = is_checked or require_known_convention(head, subject.camera, seen.seen)
        found, measured = track_subject(config, subject, head, basis, seen, SubjectPictures(images, alphas))
        for track in found:
            if track.status != "ok":
                progress.item_rejected(f"{track.subject_id}/{track.view}", track.reason)
        tracks.extend(found)
        quality[subject.subject_id] = measured
        progress.item_done(subject.subject_id)
    output.mkdir(parents=True, exist_ok=True)
    write_tracks(output / "part.parquet", tracks)
    (output / "quality.json").write_text(json.dumps(quality, indent=1, sort_keys=True) + "\n")
    n_ok = sum(track.status == "ok" for track in tracks)
    return {"n_ok": n_ok, "n_rejected": len(tracks) - n_ok}


def summarize_tracks(config: TrackConfig, parts: Sequence[Path], output: Path) -> dict[str, float]:
    """Join the folders written by `track_shard` into `output`/shards and `output`/tracks.json and return the summary.

    rms_px: root mean square residual per coordinate over the inliers. noise_floor_px: its expected value for exact
    least squares, noise * sqrt(1 - unknowns / coordinates), mean over subjects. vertex_mm: mean over subjects of
    `vertex_error_mm`. focal_pct, yaw_deg, pitch_deg: mean absolute errors of the cameras. Measures that need exact
    values or simulated landmarks are omitted without them.
    """
    (output / "shards").mkdir(parents=True, exist_ok=True)
    quality: dict[str, Mapping[str, float]] = {}
    for number, part in enumerate(parts):
        shutil.copyfile(part / "part.parquet", output / "shards" / f"part-{number:05d}.parquet")
        quality |= json.loads((part / "quality.json").read_text())
    summary = summarize_quality([quality[subject] for subject in sorted(quality)])
    if config.landmarks == "simulated":
        summary["landmark_noise"] = config.landmark_noise
    (output / "tracks.json").write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")
    return summary
