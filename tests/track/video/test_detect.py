"""Following one face through a film with a detector that fails on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from headforge.errors import Rejected
from headforge.track.video.detect import DETECTED, FOLLOWED, LOST, detect_film
from tests.heads import landmark_directions


@dataclass(frozen=True)
class Face:
    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float = 1.0


def face_at(x: float, size: float = 40.0) -> Face:
    angles = landmark_directions()
    points = np.stack([x + size * np.sin(angles[:, 0]), 60 - size * np.sin(angles[:, 1])], axis=-1)
    return Face((x - size, 60 - size, x + size, 60 + size), points)


@dataclass
class Faces:
    """Frames are numbered in their first pixel; `seen` has the detector's faces, `there` where a face really is."""

    seen: dict[int, Sequence[Face]]
    there: dict[int, Face] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def detect_landmarks(self, image: np.ndarray) -> Sequence[Face]:
        return self.seen.get(int(image[0, 0, 0]), [])

    def landmarks_in(self, image: np.ndarray, box: Sequence[float]) -> Face | None:
        number = int(image[0, 0, 0])
        self.asked.append(number)
        return self.there.get(number)


def frames(n: int) -> list[np.ndarray]:
    return [np.full((90, 200, 3), number, np.uint8) for number in range(n)]


def test_lost_boxes_are_recovered_forwards_and_backwards() -> None:
    truth = {number: face_at(60 + 2 * number) for number in range(10)}
    seen = {number: [truth[number]] for number in (2, 3, 4, 8)}
    there = {number: truth[number] for number in (1, 5, 7)}
    found = detect_film(frames(10), Faces(seen, there), "film")
    how = (LOST, FOLLOWED, DETECTED, DETECTED, DETECTED, FOLLOWED, LOST, FOLLOWED, DETECTED, LOST)
    assert found.how == how
    assert (found.width, found.height) == (200, 90)
    for number in (1, 2, 5, 7, 8):
        np.testing.assert_allclose(found.points[number], truth[number].landmarks)
    assert np.isnan(found.points[[0, 6, 9]]).all() and np.isnan(found.boxes[6]).all()


def test_the_nearest_face_is_followed_though_another_is_larger() -> None:
    seen = {number: [face_at(150, 48), face_at(50 + number)] for number in range(6)}
    seen[3] = [face_at(150, 48)]
    found = detect_film(frames(6), Faces(seen), "film", face_index=1)
    assert found.how == (DETECTED, DETECTED, DETECTED, LOST, DETECTED, DETECTED)
    np.testing.assert_allclose(found.points[5], face_at(55).landmarks)


def test_a_face_that_is_not_there_is_refused_with_a_list_of_those_that_are() -> None:
    seen = {0: [face_at(150, 48), face_at(50)]}
    with pytest.raises(Rejected) as error:
        detect_film(frames(1), Faces(seen), "film", face_index=2)
    assert error.value.gate == "face_index"
    assert "0 of 96 x 96 px at (102, 12); 1 of 80 x 80 px at (10, 20)" in error.value.reason


def test_a_followed_face_that_jumps_or_is_not_finite_is_lost() -> None:
    seen = {0: [face_at(60)]}
    broken = Face((0, 0, 1, 1), np.full((68, 2), np.nan))
    for wrong in (face_at(60, 90), face_at(180), broken):
        found = detect_film(frames(2), Faces(seen, {1: wrong}), "film")
        assert found.how == (DETECTED, LOST)


def test_frames_long_before_the_face_are_not_kept() -> None:
    faces = Faces({60: [face_at(60)]}, {number: face_at(60) for number in range(60)})
    found = detect_film(frames(61), faces, "film")
    assert found.how.count(FOLLOWED) == 25 and found.how[34] == LOST
