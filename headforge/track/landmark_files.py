"""Landmarks in files: VHAP's landmark2d layout, and tables that people give."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from headforge.store.files import write_bytes
from headforge.track.video_detect import FilmLandmarks


def write_landmarks(path: Path, seen: FilmLandmarks) -> None:
    """VHAP's landmark2d file: one row per frame; x and y as shares of the size, then confidence; -1 rows for none."""
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
