"""Vectors and groups of people."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from scipy.spatial.distance import pdist

from headforge.geometry.cameras import orbit_camera
from headforge.synth.config import SynthesizeConfig
from headforge.synth.identities import N_CLUSTERS, parameter_vector, person_identity
from headforge.synth.people.subjects import sample_person
from headforge.types import HeadParams, Sample

CONFIG = SynthesizeConfig()


def views(*yaws_deg: float) -> list[Sample]:
    camera = orbit_camera(0.0, 0.0, distance_m=1.0, focal_px=10.0, width=4, height=4)
    params = HeadParams.neutral("tiny-test-head", 8, 6)
    return [
        Sample("000003", i, "test", "synthetic", 0, np.full((4, 4, 3), 10 * i, np.uint8), np.zeros((4, 4), np.uint8),
               camera, params, yaw, 0.0)
        for i, yaw in enumerate(yaws_deg)
    ]  # fmt: skip


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


def test_the_groups_do_not_depend_on_the_datasets_size_and_none_is_empty() -> None:
    clusters = [person_identity(CONFIG, sample_person(0, s, 0.18), views(0.0)).cluster for s in range(300)]
    large = dataclasses.replace(CONFIG, n_subjects=10_000, views_per_subject=60)
    assert clusters[:20] == [person_identity(large, sample_person(0, s, 0.18), views(0.0)).cluster for s in range(20)]
    counts = np.bincount(clusters, minlength=N_CLUSTERS)
    assert len(counts) == N_CLUSTERS and counts.min() > 5


def test_an_embedder_is_shown_the_most_frontal_picture() -> None:
    person = sample_person(0, 3, 0.18)
    seen: list[int] = []

    def embedder(image: np.ndarray) -> np.ndarray:
        seen.append(int(image[0, 0, 0]))
        return np.arange(5.0)

    found = person_identity(CONFIG, person, views(-40.0, 12.0, 3.0, 50.0), embedder)
    assert seen == [20]
    assert (found.subject_id, found.split) == ("000003", "test")
    assert found.vector.dtype == np.float32 and found.vector.tolist() == [0, 1, 2, 3, 4]
    assert len(person_identity(CONFIG, person, views(0.0), lambda image: None).vector) == 0
