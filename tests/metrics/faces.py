"""Face embedder stub: the brightest corner determines presence, the mean colour the identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FakeFace:
    landmarks: np.ndarray


class FakeFaces:
    def detect_landmarks(self, image: np.ndarray) -> Sequence[FakeFace]:
        return [] if image[0, 0].sum() == 0 else [FakeFace(np.zeros((68, 2)))]

    def embed(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        return np.resize(image.reshape(-1, 3).mean(0) / 255, 128).astype(np.float32)
