"""Landmarks of one face through a film: detected in each frame, followed where detection fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from headforge.progress import SILENT, Progress
from headforge.track.crop import OUTER_EYES, outer_eye_distance
from headforge.track.faces import LARGEST_FACE, choose_face
from headforge.track.observe import DetectedFace, FaceDetector

DETECTED, FOLLOWED, GIVEN, LOST = "detected", "followed", "given", "no face was found"
N_KEPT_FRAMES = 25
"""Number of frames without a face that are kept, to follow the face backwards from where it appears."""
SAME_FACE_EYES = 1.5
"""A detection whose centre has moved farther than this many outer-eye distances a frame is another face ..."""
SAME_FACE_SCALE = 1.5
"""... as is one that is larger or smaller by more than this."""


class FaceFollower(FaceDetector, Protocol):
    """A detector that can also search within a given box."""

    def landmarks_in(self, image: np.ndarray, box: Sequence[float]) -> DetectedFace | None:
        """Return the face in the box (left, top, right, bottom in pixels, as the detector's own), or None."""
        ...


@dataclass(frozen=True)
class FilmLandmarks:
    """Landmarks of T frames of one film."""

    points: np.ndarray
    """[T, 68, 2] pixels; NaN where there is none."""
    boxes: np.ndarray
    """[T, 4] left, top, right, bottom; NaN where there is none."""
    how: tuple[str, ...]
    """Per frame: "detected", "followed", "given", or the reason why there are no landmarks."""
    width: int
    height: int

    @property
    def found(self) -> np.ndarray:
        """[T] bool."""
        return np.array([how in (DETECTED, FOLLOWED, GIVEN) for how in self.how], dtype=bool)


@dataclass(frozen=True)
class Sighting:
    """Last sighting of the face."""

    face: DetectedFace
    frame: int


def detect_film(
    frames: Iterable[np.ndarray],
    faces: FaceFollower,
    name: str,
    face_index: int = LARGEST_FACE,
    progress: Progress = SILENT,
) -> FilmLandmarks:
    """Track face `face_index` of the first frame with a face (the largest by default) through all frames.

    In each frame the detection nearest to the last sighting is used. Without a detection the last box is searched;
    after a new detection the preceding missed frames are searched backwards. Frames are read once; only the last 25
    without a face are kept. Raises Rejected if the first frame with faces has no face of that index.
    """
    found: list[DetectedFace | None] = []
    how: list[str] = []
    last: Sighting | None = None
    missed: deque[tuple[int, np.ndarray]] = deque(maxlen=N_KEPT_FRAMES)
    shape = (0, 0)
    for number, frame in enumerate(frames):
        shape = frame.shape[:2]
        face, state = _look(frame, faces, last, number, name, face_index)
        found.append(face)
        how.append(state)
        if face is None:
            missed.append((number, frame))
        else:
            if state == DETECTED:
                _follow_back(faces, face, missed, found, how)
            missed.clear()
            last = Sighting(face, number)
        progress.item_done(f"{name}, frame {number}")
    points = np.full((len(found), 68, 2), np.nan)
    boxes = np.full((len(found), 4), np.nan)
    for number, face in enumerate(found):
        if face is not None:
            points[number], boxes[number] = face.landmarks, face.box
    return FilmLandmarks(points, boxes, tuple(how), shape[1], shape[0])


def _look(
    frame: np.ndarray, faces: FaceFollower, last: Sighting | None, number: int, name: str, face_index: int
) -> tuple[DetectedFace | None, str]:
    candidates = faces.detect_landmarks(frame)
    if last is None:
        return (choose_face(candidates, name, face_index), DETECTED) if candidates else (None, LOST)
    same = [face for face in candidates if is_same_face(last.face, face, number - last.frame)]
    if same:
        return min(same, key=lambda face: _distance_eyes(last.face, face)), DETECTED
    followed = faces.landmarks_in(frame, last.face.box) if number == last.frame + 1 else None
    if followed is not None and is_same_face(last.face, followed, 1):
        return followed, FOLLOWED
    return None, LOST


def _follow_back(
    faces: FaceFollower,
    face: DetectedFace,
    missed: deque[tuple[int, np.ndarray]],
    found: list[DetectedFace | None],
    how: list[str],
) -> None:
    for number, frame in reversed(missed):
        earlier = faces.landmarks_in(frame, face.box)
        if earlier is None or not is_same_face(face, earlier, 1):
            return
        found[number], how[number] = earlier, FOLLOWED
        face = earlier


def is_same_face(a: DetectedFace, b: DetectedFace, n_frames: int) -> bool:
    """Return whether two sightings `n_frames` apart can be the same face: near enough, and of about the same size."""
    if not np.isfinite(b.landmarks).all():
        return False
    ratio = _spread(b.landmarks) / max(_spread(a.landmarks), 1e-6)
    near = _distance_eyes(a, b) <= SAME_FACE_EYES * n_frames
    return near and 1 / SAME_FACE_SCALE < ratio < SAME_FACE_SCALE


def _distance_eyes(a: DetectedFace, b: DetectedFace) -> float:
    """Return the distance between two face centres, in units of the larger face's `_spread`."""
    scale = max(_spread(a.landmarks), _spread(b.landmarks), 1e-6)
    return float(np.linalg.norm(a.landmarks.mean(0) - b.landmarks.mean(0))) / scale


def _spread(points: np.ndarray) -> float:
    """Return a yaw-robust face size: the outer-eye distance, or eyes to chin if that is longer."""
    eyes_to_chin = np.linalg.norm(points[list(OUTER_EYES)].mean(0) - points[8])
    return max(outer_eye_distance(points), float(eyes_to_chin) * 0.8)
