"""Identity similarity of two faces, by an external embedding network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Face(Protocol):
    """A detected face."""

    @property
    def landmarks(self) -> np.ndarray:
        """[68, 2] in pixels."""
        ...


class FaceEmbedder(Protocol):
    """Face detector and embedding network."""

    def detect_landmarks(self, image: np.ndarray) -> Sequence[Face]:
        """Return the faces of a [H, W, 3] uint8 picture, the largest first."""
        ...

    def embed(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Return the embedding [128] of one of them."""
        ...


@dataclass(frozen=True)
class IdentityDistance:
    """The distance between two faces, or the reason for its absence."""

    value: float | None
    """Euclidean distance of the embeddings; None if a face was not found, never 0 for that."""
    reason: str
    """Empty if there is a value."""


def identity_distance(faces: FaceEmbedder, a: np.ndarray, b: np.ndarray) -> IdentityDistance:
    """Return the distance of the largest faces in two [H, W, 3] uint8 pictures."""
    embeddings = []
    for which, image in (("first", a), ("second", b)):
        found = faces.detect_landmarks(image)
        if not found:
            return IdentityDistance(None, f"no face was found in the {which} picture")
        embeddings.append(faces.embed(image, found[0].landmarks).astype(np.float64))
    return IdentityDistance(float(np.linalg.norm(embeddings[0] - embeddings[1])), "")
