"""Rows of people: what tells them apart."""

from __future__ import annotations

import numpy as np

from headforge.geometry.cameras import orbit_camera
from headforge.synth.identities import Likeness, person_identity
from headforge.types import HeadParams, Sample

LIKENESS = Likeness(np.array([0.5, -1.0]), 3)


def views(*yaws_deg: float) -> list[Sample]:
    camera = orbit_camera(0.0, 0.0, distance_m=1.0, focal_px=10.0, width=4, height=4)
    params = HeadParams.neutral("tiny-test-head", 8, 6)
    return [
        Sample("000003", i, "test", "synthetic", 0, np.full((4, 4, 3), 10 * i, np.uint8), np.zeros((4, 4), np.uint8),
               camera, params, yaw, 0.0)
        for i, yaw in enumerate(yaws_deg)
    ]  # fmt: skip


def test_an_embedder_is_shown_the_most_frontal_picture() -> None:
    seen: list[int] = []

    def embedder(image: np.ndarray) -> np.ndarray:
        seen.append(int(image[0, 0, 0]))
        return np.arange(5.0)

    found = person_identity(LIKENESS, views(-40.0, 12.0, 3.0, 50.0), embedder)
    assert seen == [20]
    assert (found.subject_id, found.split) == ("000003", "test")
    assert found.vector.dtype == np.float32 and found.vector.tolist() == [0, 1, 2, 3, 4]
    assert len(person_identity(LIKENESS, views(0.0), lambda image: None).vector) == 0


def test_without_an_embedder_the_row_is_the_likeness() -> None:
    found = person_identity(LIKENESS, views(0.0))
    assert (found.vector.tolist(), found.cluster) == ([0.5, -1.0], 3)
