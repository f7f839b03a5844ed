"""Vectors and groups of people by their parameters."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from scipy.spatial.distance import pdist

from headforge.synth.config import SynthesizeConfig
from headforge.synth.people.likeness import N_CLUSTERS, parameter_vector, person_likeness
from headforge.synth.people.subjects import sample_person

CONFIG = SynthesizeConfig()


def test_strangers_are_far_apart_and_the_same_face_is_near_whatever_the_hair() -> None:
    everyone = [sample_person(0, s, 0.18) for s in range(300)]
    distances = pdist([parameter_vector(p) for p in everyone])
    assert distances.min() > 2 * CONFIG.duplicate_distance
    assert 1.0 < np.median(distances) < 1.6
    other = dataclasses.replace(everyone[0], hair_style="long", beard=1.0, shirt_srgb=np.zeros(3))
    assert np.linalg.norm(parameter_vector(other) - parameter_vector(everyone[0])) == 0
    slightly = dataclasses.replace(everyone[0], shape=everyone[0].shape + 0.1 * torch.ones_like(everyone[0].shape))
    near = np.linalg.norm(parameter_vector(slightly) - parameter_vector(everyone[0]))
    assert 0.05 < near < CONFIG.duplicate_distance


def test_no_group_is_empty() -> None:
    clusters = [person_likeness(sample_person(0, s, 0.18), 0, 0.18).cluster for s in range(300)]
    counts = np.bincount(clusters, minlength=N_CLUSTERS)
    assert len(counts) == N_CLUSTERS and counts.min() > 5
