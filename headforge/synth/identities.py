"""Identities of people: a vector for each, and the group of similar people it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from headforge.store.dataset.identities import Identity
from headforge.types import Sample

Embedder = Callable[[np.ndarray], np.ndarray | None]
"""Maps a [H, W, 3] uint8 picture to an identity vector [D], or to None if there is no face."""


@dataclass(frozen=True)
class Likeness:
    """A generator's description of a person: a function of the settings and the person alone, so datasets may grow."""

    vector: np.ndarray
    """[D]; people are compared by Euclidean distance."""
    cluster: int
    """Number of the group of similar people."""


def person_identity(likeness: Likeness, samples: Sequence[Sample], embedder: Embedder | None = None) -> Identity:
    """Return a person's row: its vector is that of its most frontal view if there is an embedder, else its likeness.

    It is empty where the embedder finds no face.
    """
    first = samples[0]
    vector = likeness.vector if embedder is None else embedder(most_frontal(samples).image)
    vector = np.zeros(0) if vector is None else vector
    return Identity(first.subject_id, first.split, likeness.cluster, vector.astype(np.float32))


def most_frontal(samples: Sequence[Sample]) -> Sample:
    """Return the view whose camera is nearest to the front."""
    return min(samples, key=lambda sample: abs(sample.yaw_deg) + abs(sample.pitch_deg))
