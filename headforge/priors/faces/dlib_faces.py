"""dlib's face detector, 68 landmarks and 128-d identity embedding, with the weights of `face_recognition_models`.

Licences: dlib Boost; the embedding model CC0; the 68-point model was trained on iBUG 300-W, whose terms exclude
commercial use.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from headforge.errors import MissingExtraError
from headforge.store.files import sha256_file

EXTRA = "photos"
PURPOSE = "finding faces in photos"
WEIGHTS_PACKAGE = "face_recognition_models"
LANDMARKS_FILE = "shape_predictor_68_face_landmarks.dat"
EMBEDDING_FILE = "dlib_face_recognition_resnet_model_v1.dat"
N_UPSAMPLE = 1
"""Doublings of the picture before detection: finds faces down to about 40 pixels."""
MAX_DETECTION_SIDE_PX = 1024
"""Larger pictures are averaged down for detection; landmarks are located at full size."""
NUDGES = ((0.0, 0.0), (0.08, 0.0), (-0.08, 0.0), (0.0, 0.08), (0.0, -0.08))
"""Shifts of a box, in box widths, at which the landmark model runs without the detector."""
MAX_SPREAD = 0.02
"""On a face, landmarks from shifted boxes agree within this share of the box; without one they scatter."""


BOX_SIDE, BOX_LOWER = 1.02, -0.13
"""The detector's boxes: side relative to the landmarks' larger extent, and offset below their centre, in sides."""


@dataclass(frozen=True)
class DlibFace:
    """One face in a picture, in its pixels with centres at +0.5."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom."""
    landmarks: np.ndarray
    """[68, 2] float64, iBUG order."""
    score: float
    """The detector's margin; above 0."""


class DlibFaces:
    """Detector and embedder. Raises MissingExtraError without the extra `photos`.

    dlib and its weights are loaded on first use, so that instances can be sent to other processes.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Use the two weight files in `folder`, such as an asset of the kind "dlib"; by default the package's."""
        _dlib()
        self._landmarks = _weights(LANDMARKS_FILE, folder)
        self._embedding = _weights(EMBEDDING_FILE, folder)

    def detect_landmarks(self, image: np.ndarray) -> list[DlibFace]:
        """Return all faces in a [H, W, 3] uint8 picture, the largest first."""
        image = np.ascontiguousarray(image)
        step = -(-max(image.shape[:2]) // MAX_DETECTION_SIDE_PX)
        small = _averaged(image, step)
        rectangles, scores, _ = _detector().run(small, N_UPSAMPLE, 0.0)
        dlib = _dlib()
        faces = []
        for rectangle, score in zip(rectangles, scores, strict=True):
            left, top, right, bottom = (
                step * edge for edge in (rectangle.left(), rectangle.top(), rectangle.right(), rectangle.bottom())
            )
            shape = _landmark_model(self._landmarks)(image, dlib.rectangle(left, top, right, bottom))
            points = np.array([(p.x, p.y) for p in shape.parts()], dtype=np.float64) + 0.5
            faces.append(DlibFace((left, top, right, bottom), points, float(score)))
        return sorted(faces, key=lambda f: (-(f.box[2] - f.box[0]) * (f.box[3] - f.box[1]), f.box))

    def landmarks_in(self, image: np.ndarray, box: Sequence[float]) -> DlibFace | None:
        """Return the face in a box (left, top, right, bottom in pixels) around a recent detection, or None.

        The landmark model always returns points: a face is present if those from shifted boxes agree; their mean is
        used. The face's box is the given one, moved and scaled to fit its landmarks.
        """
        dlib = _dlib()
        image = np.ascontiguousarray(image)
        left, top, right, bottom = box
        width, answers = right - left, []
        for x, y in NUDGES:
            corners = (left + x * width, top + y * width, right + x * width, bottom + y * width)
            shape = _landmark_model(self._landmarks)(image, dlib.rectangle(*(round(edge) for edge in corners)))
            answers.append([(p.x, p.y) for p in shape.parts()])
        points = np.array(answers, dtype=np.float64) + 0.5
        spread = float(np.median(np.linalg.norm(points - points.mean(0), axis=-1).mean(0))) / width
        if not spread < MAX_SPREAD:
            return None
        mean = points.mean(0)
        return DlibFace(_box_about(mean), mean, 1 - spread / MAX_SPREAD)

    def embed(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Return the identity embedding [128] float32 of the face with these landmarks [68, 2].

        Embeddings of one person lie within a Euclidean distance of about 0.6.
        """
        dlib = _dlib()
        corners = np.concatenate([landmarks.min(0), landmarks.max(0)]).round().astype(int)
        points = [dlib.point(int(x), int(y)) for x, y in np.floor(landmarks)]
        shape = dlib.full_object_detection(dlib.rectangle(*(int(c) for c in corners)), points)
        vector = _embedding_model(self._embedding).compute_face_descriptor(np.ascontiguousarray(image), shape, 0)
        return np.array(vector, dtype=np.float32)

    @property
    def weights_sha256(self) -> dict[str, str]:
        """SHA-256 of each weight file in use, by file name."""
        return {path.name: sha256_file(path) for path in (self._landmarks, self._embedding)}

    def broken_files(self) -> dict[str, str]:
        """Return dlib's error for each unreadable weight file, by file name."""
        found = {}
        for path, load in ((self._landmarks, _landmark_model), (self._embedding, _embedding_model)):
            try:
                load(path)
            except RuntimeError as error:
                found[path.name] = " ".join(str(error).split())
        return found


def _box_about(landmarks: np.ndarray) -> tuple[float, float, float, float]:
    """Return approximately the box that the detector would report for a face with these landmarks [68, 2]."""
    low, high = landmarks.min(0), landmarks.max(0)
    side = BOX_SIDE * float((high - low).max())
    centre = (low + high) / 2 + np.array([0.0, BOX_LOWER]) * side
    (left, top), (right, bottom) = (centre - side / 2).tolist(), (centre + side / 2).tolist()
    return left, top, right, bottom


def _averaged(image: np.ndarray, step: int) -> np.ndarray:
    """Return the mean over blocks of `step` x `step` pixels; a remainder at the right and bottom is dropped."""
    if step == 1:
        return image
    height, width = (n // step for n in image.shape[:2])
    blocks = image[: height * step, : width * step].reshape(height, step, width, step, 3)
    return np.ascontiguousarray(blocks.mean((1, 3)).round().astype(np.uint8))


@functools.cache
def _dlib() -> ModuleType:
    try:
        import dlib
    except ImportError as error:
        raise MissingExtraError("dlib-bin", EXTRA, PURPOSE) from error
    return dlib


def _weights(name: str, folder: Path | None) -> Path:
    """Return a weight file's path; the package is never imported, as it needs the removed pkg_resources."""
    if folder is not None:
        return folder / name
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    folders = spec.submodule_search_locations if spec is not None else None
    path = Path(folders[0]) / "models" / name if folders else None
    if path is None or not path.is_file():
        raise MissingExtraError(WEIGHTS_PACKAGE, EXTRA, PURPOSE)
    return path


@functools.cache
def _detector() -> Any:
    return _dlib().get_frontal_face_detector()


@functools.cache
def _landmark_model(path: Path) -> Any:
    return _dlib().shape_predictor(str(path))


@functools.cache
def _embedding_model(path: Path) -> Any:
    return _dlib().face_recognition_model_v1(str(path))
