"""What tells people apart: a vector for each, and the group of similar people it falls into.

Both are functions of the settings and the subject alone, so that a dataset that grows keeps them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from scipy.cluster.vq import kmeans2

from headforge.store.dataset.identities import Identity
from headforge.synth.config import SynthesizeConfig
from headforge.synth.people.subjects import Person, sample_person
from headforge.types import Sample

N_CLUSTERS = 8
N_CLUSTERED = 256
"""The groups are those of the generator's first so many people, whether they are in the dataset or not."""
SPREADS = {"skin_srgb": 0.2, "hair_srgb": 0.2, "iris_srgb": 0.15, "age": 0.2}
"""Standard deviations of what is not in standard deviations already."""

Embedder = Callable[[np.ndarray], np.ndarray | None]
"""A vector [D] of the identity in a [H, W, 3] uint8 picture, or None if there is no face."""


def person_identity(
    config: SynthesizeConfig, person: Person, samples: Sequence[Sample], embedder: Embedder | None = None
) -> Identity:
    """A person's row: its vector is that of its most frontal view if there is an embedder, else its parameters."""
    first = samples[0]
    parameters = parameter_vector(person)
    distances = np.linalg.norm(_cluster_centres(config.seed, config.long_hair_share) - parameters, axis=-1)
    vector = parameters if embedder is None else embedder(most_frontal(samples).image)
    vector = np.zeros(0) if vector is None else vector
    return Identity(first.subject_id, first.split, int(distances.argmin()), vector.astype(np.float32))


def parameter_vector(person: Person) -> np.ndarray:
    """[D] shape and appearance; the Euclidean distance is the RMS difference in standard deviations.

    The same face with other hair, clothes or beard counts as the same person.
    """
    appearance = [np.atleast_1d(getattr(person, name)) / spread for name, spread in SPREADS.items()]
    vector = np.concatenate([person.shape.double().numpy(), *appearance])
    return vector / np.sqrt(len(vector))


def most_frontal(samples: Sequence[Sample]) -> Sample:
    """The view whose camera is nearest to the front."""
    return min(samples, key=lambda sample: abs(sample.yaw_deg) + abs(sample.pitch_deg))


@functools.cache
def _cluster_centres(seed: int, long_hair_share: float) -> np.ndarray:
    """[N_CLUSTERS, D] k-means centres of the generator's first people."""
    vectors = np.array([parameter_vector(sample_person(seed, i, long_hair_share)) for i in range(N_CLUSTERED)])
    centres, _ = kmeans2(vectors, N_CLUSTERS, iter=50, minit="++", rng=np.random.default_rng(0))
    return centres
