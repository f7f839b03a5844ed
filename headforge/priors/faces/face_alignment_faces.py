"""The landmark network of the package face-alignment (FAN) with a user-supplied weight file.

Licence: package BSD 3-clause; the weights were trained on 300-W-LP, whose terms exclude commercial use. Nothing is
downloaded: the file (2DFAN4) is given by path and read as tensors only. Boxes come from another detector.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from headforge.errors import InputError, MissingExtraError

EXTRA, PACKAGE = "face-alignment", "face-alignment"
PURPOSE = "finding landmarks with face-alignment"
N_MODULES = 4
REFERENCE_SCALE = 195.0
"""Side of the box, in pixels, used in the network's training."""
CENTRE_ABOVE = 0.12
"""Offset of the network's crop centre above the box's centre, in box heights."""
MIN_SCORE = 0.2
"""Mean height of the 68 heat maps' peaks below which a box holds no face."""


WEIGHT_ERRORS = (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, TypeError, LookupError, ValueError)
"""Exceptions that torch raises for files without such weights."""


class Face(Protocol):
    """A face of the detector that supplies the boxes."""

    @property
    def box(self) -> Sequence[float]:
        """Left, top, right, bottom in pixels."""
        ...


class Boxes(Protocol):
    """Detector of face boxes."""

    def detect_landmarks(self, image: np.ndarray) -> Sequence[Face]:
        """Return all faces of an RGB image [H, W, 3] uint8, the largest first."""
        ...


@dataclass(frozen=True)
class FanFace:
    """One face in a picture, in its pixels with centres at +0.5."""

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    """[68, 2] float64, iBUG order."""
    score: float
    """Mean height of the heat maps' peaks."""


class FaceAlignmentFaces:
    """Landmark model from the weight file `path`, in the boxes of `boxes`. The network is loaded on first use."""

    def __init__(self, path: Path, boxes: Boxes) -> None:
        _package()
        if not path.is_file():
            raise InputError(path, f"{path} does not exist.", "give the path of face-alignment's 2DFAN4 weights.")
        self.path = path
        self.boxes = boxes
        self._network: Any = None

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "boxes": self.boxes, "_network": None}

    def detect_landmarks(self, image: np.ndarray) -> list[FanFace]:
        """Return all faces in a [H, W, 3] uint8 picture, in the order of the boxes."""
        found = (self.landmarks_in(image, face.box) for face in self.boxes.detect_landmarks(image))
        return [face for face in found if face is not None]

    @torch.no_grad()
    def landmarks_in(self, image: np.ndarray, box: Sequence[float]) -> FanFace | None:
        """Return the face in a box, with the box of its landmarks; None if the network's score is too low."""
        utils = _package().utils
        left, top, right, bottom = box
        centre = np.array([(left + right) / 2, (top + bottom) / 2 - CENTRE_ABOVE * (bottom - top)])
        scale = (right - left + bottom - top) / REFERENCE_SCALE
        crop = np.ascontiguousarray(utils.crop(image, centre, scale).transpose(2, 0, 1), dtype=np.float32) / 255
        heat_maps = self._loaded()(torch.from_numpy(crop)[None])
        heat_maps = heat_maps[-1] if isinstance(heat_maps, list) else heat_maps
        _, points, scores = utils.get_preds_fromhm(heat_maps.numpy(), centre, scale)
        score = float(np.mean(scores))
        if not score > MIN_SCORE:
            return None
        landmarks = np.asarray(points, dtype=np.float64).reshape(68, 2)
        a, b = landmarks.min(0), landmarks.max(0)
        return FanFace((float(a[0]), float(a[1]), float(b[0]), float(b[1])), landmarks, score)

    def _loaded(self) -> Any:
        if self._network is None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of another pickle protocol; the content is checked afterwards
                    weights = torch.load(self.path, map_location="cpu", weights_only=True)
                network = _package().models.FAN(N_MODULES)
                network.load_state_dict(weights)
            except WEIGHT_ERRORS as error:
                raise InputError(self.path, f"{self.path} holds no weights of face-alignment's 2DFAN4.",
                                 "give the file 2DFAN4-….pth.tar of the package's models.") from error  # fmt: skip
            self._network = network.eval()
        return self._network


def _package() -> Any:
    try:
        import face_alignment  # pyright: ignore[reportMissingImports]
        import face_alignment.models  # pyright: ignore[reportMissingImports]
        import face_alignment.utils  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError(PACKAGE, EXTRA, PURPOSE) from error
    return face_alignment
