"""Similarity of people by their parameters, and groups of similar people."""

from __future__ import annotations

import functools

import numpy as np
from scipy.cluster.vq import kmeans2

from headforge.synth.identities import Likeness
from headforge.synth.people.subjects import Person, sample_person

N_CLUSTERS = 8
N_CLUSTERED = 256
"""Number of the generator's first people that define the groups, whether or not they are in the dataset."""
SPREADS = {"skin_srgb": 0.2, "hair_srgb": 0.2, "iris_srgb": 0.15, "age": 0.2}
"""Standard deviations of the attributes that are not in standard deviations already."""


def person_likeness(person: Person, seed: int, long_hair_share: float) -> Likeness:
    """Return the person's vector and the nearest group of those that `sample_person` draws."""
    vector = parameter_vector(person)
    distances = np.linalg.norm(_cluster_centres(seed, long_hair_share) - vector, axis=-1)
    return Likeness(vector, int(distances.argmin()))


def parameter_vector(person: Person) -> np.ndarray:
    """Return [D] shape and appearance; the Euclidean distance is the RMS difference in standard deviations.

    The same face with other hair, clothes or beard counts as the same person.
    """
    appearance = [np.atleast_1d(getattr(person, name)) / spread for name, spread in SPREADS.items()]
    vector = np.concatenate([person.shape.double().numpy(), *appearance])
    return vector / np.sqrt(len(vector))


@functools.cache
def _cluster_centres(seed: int, long_hair_share: float) -> np.ndarray:
    """Return [N_CLUSTERS, D] k-means centres of the generator's first people."""
    vectors = np.array([parameter_vector(sample_person(seed, i, long_hair_share)) for i in range(N_CLUSTERED)])
    centres, _ = kmeans2(vectors, N_CLUSTERS, iter=50, minit="++", rng=np.random.default_rng(0))
    return centres
