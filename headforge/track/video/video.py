"""Tracking of a film of one person: landmarks per frame, one joint fit, tables and diagnostic pictures."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np

from headforge.errors import Rejected
from headforge.flame.model import HeadModel
from headforge.progress import SILENT, Progress
from headforge.store.dataset.tables import write_tracks
from headforge.store.files import write_json
from headforge.store.video import VideoFile, open_video
from headforge.track.faces import LARGEST_FACE
from headforge.track.video.config import VideoConfig
from headforge.track.video.detect import DETECTED, FOLLOWED, FaceFollower, FilmLandmarks, detect_film
from headforge.track.video.fit import FilmFit, fit_landmarks
from headforge.track.video.landmark_files import read_landmarks, write_landmarks
from headforge.track.video.overlay import write_overlay
from headforge.track.video.pose import second_differences
from headforge.types import Track

VERSION = 1


def track_video(
    config: VideoConfig,
    path: Path,
    name: str,
    head: HeadModel,
    faces: FaceFollower,
    output: Path,
    progress: Progress = SILENT,
    face_index: int = LARGEST_FACE,
    landmarks: Path | None = None,
) -> dict[str, object]:
    """Fit the head model to a film, write the results into `output` and return the summary.

    `face_index` picks a face of the first frame with a face, in the detector's order; the largest by default.
    `landmarks` is a file of landmarks (`read_landmarks`) used in place of detected ones. Writes tracks.parquet (one row
    per frame; view = frame), landmarks.npz (VHAP's layout), video.json, overlay.mp4 and strip.png. Failed frames are
    rows with a reason and values interpolated between their neighbours. Raises InputError for a file that is not a
    film, Rejected if too large a share of the frames fails; then nothing is written.
    """
    film = open_video(path, config.max_side)
    if film.n_frames_estimate > config.max_frames:
        raise _too_long(name, film.n_frames_estimate, config)
    progress.start(film.n_frames_estimate, "frame")
    if landmarks is None:
        seen = detect_film(film.frames(), faces, name, face_index, progress)
    else:
        n_frames = sum(1 for _ in film.frames())
        seen = read_landmarks(landmarks, n_frames, film.width, film.height)
        progress.item_done(name, n_frames)
    if len(seen.how) > config.max_frames:
        raise _too_long(name, len(seen.how), config)
    return track_landmarks(config, film, seen, name, head, output)


def track_landmarks(
    config: VideoConfig, film: VideoFile, seen: FilmLandmarks, name: str, head: HeadModel, output: Path
) -> dict[str, object]:
    """Track a film from known landmarks [T, 68, 2], as `track_video`."""
    found = fit_landmarks(config, head, seen, film.fps)
    _check_share(config, name, found, seen)
    assert found is not None
    output.mkdir(parents=True, exist_ok=True)
    write_tracks(output / "tracks.parquet", film_tracks(name, found))
    write_landmarks(output / "landmarks.npz", seen)
    write_overlay(config, film, head, seen, found, output)
    summary = summarize_film(film, seen, found)
    write_json(output / "video.json", {"name": name, **summary})
    return summary


def film_tracks(name: str, found: FilmFit) -> list[Track]:
    """Return one row per frame."""
    return [
        Track(
            subject_id=name,
            view=row,
            status="rejected" if reason else "ok",
            reason=reason,
            camera=found.camera,
            params=found.params[row],
            residual_px=math.nan if reason else float(found.residual_px[row]),
            n_landmarks=0 if reason else int(found.n_landmarks[row]),
        )
        for row, reason in enumerate(found.reasons)
    ]


def summarize_film(film: VideoFile, seen: FilmLandmarks, found: FilmFit) -> dict[str, object]:
    """Return summary measures of the film; jitter is the root mean square of the pose's second difference."""
    turn_deg, place_mm = second_differences(found.params, found.rows)
    return {
        "fps": film.fps,
        "width": seen.width,
        "height": seen.height,
        "n_frames": len(seen.how),
        "n_detected": sum(how == DETECTED for how in seen.how),
        "n_followed": sum(how == FOLLOWED for how in seen.how),
        "n_ok": len(found.rows),
        "n_rejected": len(seen.how) - len(found.rows),
        "residual_eye_distance": float(np.mean(found.residual_eyes[found.rows])),
        "residual_px": float(np.mean(found.residual_px[found.rows])),
        "jitter_turn_deg": _rms(turn_deg),
        "jitter_move_mm": _rms(place_mm),
        "focal_px": float(found.camera.K[0, 0]),
        "model_id": found.params.model_id,
        "shape": found.params.shape[0].tolist(),
    }


def _rms(values: np.ndarray) -> float | None:
    return float(np.sqrt(np.mean(values**2))) if len(values) else None


def _too_long(name: str, n_frames: int, config: VideoConfig) -> Rejected:
    return Rejected(
        name, "video_length", f"the video has about {n_frames} frames, at most {config.max_frames} are taken.",
        "cut it into shorter ones, or raise video.max_frames.", float(n_frames),
    )  # fmt: skip


def _check_share(config: VideoConfig, name: str, found: FilmFit | None, seen: FilmLandmarks) -> None:
    reasons = Counter(reason.split(",")[0] for reason in (found.reasons if found is not None else seen.how) if reason)
    n_rejected = len(seen.how) - (0 if found is None else len(found.rows))
    share = n_rejected / len(seen.how)
    if found is None or share > config.max_rejected_share:
        most = "; ".join(f"{count} frames: {reason}" for reason, count in reasons.most_common(3))
        raise Rejected(
            name, "video_frames",
            f"{n_rejected} of {len(seen.how)} frames could not be tracked, at most "
            f"{100 * config.max_rejected_share:.0f} % may fail ({most}).",
            "use a video of one person who looks roughly at the camera, or cut out the part that shows it.", share,
        )  # fmt: skip
