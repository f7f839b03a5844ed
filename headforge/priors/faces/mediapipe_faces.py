"""MediaPipe Tasks' face landmarker with a user-supplied model file, as a detector of the 68 iBUG landmarks.

Licence: package and model Apache 2.0. Nothing is downloaded: `face_landmarker.task` is given by path. Its mesh has 478
points; those of `IBUG_POINTS` match iBUG's; the jaw line lies on the mesh's rim, not on the outline of a turned head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headforge.errors import InputError, MissingExtraError

EXTRA, PACKAGE = "mediapipe", "mediapipe"
PURPOSE = "finding faces with MediaPipe"
MAX_FACES = 8
MIN_CONFIDENCE = 0.5
LOOK_AROUND = 0.6
"""Margin around a box for the next search, in box sides."""
IBUG_POINTS = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
"""Points of MediaPipe's mesh in the order of iBUG's 68."""


@dataclass(frozen=True)
class MediaPipeFace:
    """One face in a picture, in its pixels with centres at +0.5."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom of the mesh."""
    landmarks: np.ndarray
    """[68, 2] float64, iBUG order."""
    score: float
    """1: MediaPipe reports no confidence of a face that passed its own threshold."""


class MediaPipeFaces:
    """Detector with the model file `path`. Raises MissingExtraError without the package, InputError for another file.

    The model is loaded on first use, so that instances can be sent to other processes.
    """

    def __init__(self, path: Path) -> None:
        _mediapipe()
        if not path.is_file():
            raise InputError(path, f"{path} does not exist.", "give the path of MediaPipe's face_landmarker.task.")
        self.path = path
        self._landmarker: Any = None

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_landmarker": None}

    def detect_landmarks(self, image: np.ndarray) -> list[MediaPipeFace]:
        """Return all faces in a [H, W, 3] uint8 picture, the largest first."""
        mediapipe = _mediapipe()
        picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        size = np.array([image.shape[1], image.shape[0]], dtype=np.float64)
        faces = []
        for points in self._loaded().detect(picture).face_landmarks:
            # Shares of the size, from edge to edge, so pixel centres lie at +0.5.
            mesh = np.array([(point.x, point.y) for point in points], dtype=np.float64) * size
            (left, top), (right, bottom) = mesh.min(0).tolist(), mesh.max(0).tolist()
            faces.append(MediaPipeFace((left, top, right, bottom), mesh[list(IBUG_POINTS)], 1.0))
        return sorted(faces, key=lambda f: (-(f.box[2] - f.box[0]) * (f.box[3] - f.box[1]), f.box))

    def landmarks_in(self, image: np.ndarray, box: Sequence[float]) -> MediaPipeFace | None:
        """Return the largest face in a crop around a box, where it fills more of the picture; None without one."""
        left, top, right, bottom = box
        margin = LOOK_AROUND * max(right - left, bottom - top)
        x0, y0 = max(0, int(left - margin)), max(0, int(top - margin))
        part = image[y0 : max(0, int(bottom + margin)), x0 : max(0, int(right + margin))]
        found = self.detect_landmarks(part) if min(part.shape[:2]) > 1 else []
        if not found:
            return None
        a, b, c, d = found[0].box
        return MediaPipeFace((a + x0, b + y0, c + x0, d + y0), found[0].landmarks + np.array([x0, y0]), found[0].score)

    def _loaded(self) -> Any:
        if self._landmarker is None:
            tasks = _mediapipe().tasks
            options = tasks.vision.FaceLandmarkerOptions(
                base_options=tasks.BaseOptions(model_asset_path=str(self.path)),
                num_faces=MAX_FACES,
                min_face_detection_confidence=MIN_CONFIDENCE,
            )
            try:
                self._landmarker = tasks.vision.FaceLandmarker.create_from_options(options)
            except (RuntimeError, ValueError) as error:
                raise InputError(self.path, f"{self.path} is not a model of MediaPipe's face landmarker ({error}).",
                                 "give face_landmarker.task.") from error  # fmt: skip
        return self._landmarker


def _mediapipe() -> Any:
    try:
        import mediapipe  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError(PACKAGE, EXTRA, PURPOSE) from error
    return mediapipe
