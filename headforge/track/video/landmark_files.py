"""Landmark files: VHAP's landmark2d layout, and user-supplied tables."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from headforge.errors import InputError
from headforge.guarded import read_npz
from headforge.store.files import write_bytes
from headforge.track.video.detect import GIVEN, FilmLandmarks

NOT_GIVEN = "the landmark file has no landmarks of this frame"
N_LANDMARKS = 68
MAX_FRAMES = 100_000
COLUMNS = ("frame", "landmark", "x", "y")
LANDMARKS_HELP = (
    "give an npz with face_landmark_2d [frames, 68, 3] (x and y as shares of the size, confidence) or landmarks "
    "[frames, 68, 2] (pixels), or a CSV with the columns frame, landmark, x, y (pixels)."
)


def write_landmarks(path: Path, seen: FilmLandmarks) -> None:
    """Write VHAP's landmark2d file: one row per frame; x and y as shares of the size, confidence; -1 for none."""
    size = np.array([seen.width, seen.height])
    finite = np.isfinite(seen.points).all(-1)
    rows = np.full((*seen.points.shape[:2], 3), -1.0, dtype=np.float32)
    rows[finite, :2] = (seen.points / size)[finite]
    rows[finite, 2] = 1
    rows[~finite, 2] = 0
    boxes = np.where(np.isfinite(seen.boxes), seen.boxes / np.tile(size, 2), -1).astype(np.float32)
    file = io.BytesIO()
    np.savez(file, bounding_box=boxes, face_landmark_2d=rows)
    write_bytes(path, file.getvalue())


def read_landmarks(path: Path, n_frames: int, width: int, height: int) -> FilmLandmarks:
    """Read externally detected landmarks of a film of `n_frames` frames of `width` x `height` px.

    Takes VHAP's npz, an npz with pixels (centres at +0.5), or a CSV. A landmark that is missing, negative in x and y,
    not finite or of confidence 0 counts as not seen. Raises InputError for any other file, and if the number of frames
    is not the film's. Nothing in the file is executed.
    """
    try:
        points = _from_npz(path, width, height) if zipfile.is_zipfile(path) else _from_csv(path)
    except (OSError, ValueError, KeyError, UnicodeDecodeError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(path, f"{path} holds no landmarks ({error}).", LANDMARKS_HELP) from error
    if len(points) != n_frames:
        raise InputError(path, f"{path} has landmarks of {len(points)} frames, the video has {n_frames}.",
                         "give one row per frame; -1 for frames without landmarks.")  # fmt: skip
    unseen = np.asarray((points < 0).all(-1) | ~np.isfinite(points).all(-1))
    points = np.where(unseen[..., None], np.nan, points)
    how = tuple(NOT_GIVEN if row.all() else GIVEN for row in unseen)
    shown = np.where(unseen[..., None], np.inf, points)
    boxes = np.concatenate([shown.min(1), np.where(unseen[..., None], -np.inf, points).max(1)], axis=1)
    return FilmLandmarks(points, np.where(np.isfinite(boxes), boxes, np.nan), how, width, height)


def _from_npz(path: Path, width: int, height: int) -> np.ndarray:
    """Return [T, 68, 2] pixels."""
    stored = read_npz(path, LANDMARKS_HELP, InputError)
    if "face_landmark_2d" in stored:
        rows = _checked(stored["face_landmark_2d"], 3)
        seen = np.asarray((rows[..., 2] > 0) & (rows[..., :2] >= 0).any(-1))
        return np.where(seen[..., None], rows[..., :2] * [width, height], np.nan)
    return _checked(stored["landmarks"], 2)


def _checked(rows: np.ndarray, n_columns: int) -> np.ndarray:
    if rows.ndim != 3 or rows.shape[1:] != (N_LANDMARKS, n_columns) or rows.dtype.kind not in "fiu":
        raise ValueError(f"an array of {rows.dtype} has the shape {rows.shape}, not [frames, 68, {n_columns}]")
    return rows.astype(np.float64)


def _from_csv(path: Path) -> np.ndarray:
    """Return [T, 68, 2] pixels; NaN for landmarks without a line."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        found = {(frame, landmark): (x, y) for frame, landmark, x, y in _lines(reader)}
    points = np.full((max((frame for frame, _ in found), default=-1) + 1, N_LANDMARKS, 2), np.nan)
    for (frame, landmark), place in found.items():
        points[frame, landmark] = place
    return points


def _lines(reader: Iterator[Mapping[str, str | None]]) -> Iterator[tuple[int, int, float, float]]:
    for number, line in enumerate(reader, start=2):
        try:
            frame, landmark = int(line["frame"] or ""), int(line["landmark"] or "")
            x, y = float(line["x"] or "nan"), float(line["y"] or "nan")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        if not (0 <= frame < MAX_FRAMES and 0 <= landmark < N_LANDMARKS):
            raise ValueError(f"line {number}: there is no landmark {landmark} of frame {frame}")
        confidence = line.get("confidence")
        yield frame, landmark, *((x, y) if confidence is None or float(confidence or 0) > 0 else (np.nan, np.nan))
