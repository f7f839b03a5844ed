from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from headforge.metrics.evaluate import IDENTITY_PROTOCOL
from headforge.priors.faces.dlib_faces import EMBEDDING_FILE, DlibFaces

pytest.importorskip("dlib")
data = pytest.importorskip("skimage.data")


@pytest.fixture(scope="module")
def faces() -> DlibFaces:
    return DlibFaces()


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return data.astronaut()


def test_the_astronauts_face_is_found_where_it_is(faces: DlibFaces, astronaut: np.ndarray) -> None:
    found = faces.detect_landmarks(astronaut)
    left, top, right, bottom = found[0].box
    assert left < 225 < right and top < 115 < bottom
    points = found[0].landmarks
    assert points.shape == (68, 2)
    assert 0 < found[0].score < 5
    right_eye, left_eye, chin = points[36:42].mean(0), points[42:48].mean(0), points[8]
    assert right_eye[0] < left_eye[0]
    assert chin[1] > points[30][1] > right_eye[1]
    areas = [(f.box[2] - f.box[0]) * (f.box[3] - f.box[1]) for f in found]
    assert areas == sorted(areas, reverse=True)


def test_a_cup_of_coffee_has_no_face(faces: DlibFaces) -> None:
    assert faces.detect_landmarks(data.coffee()) == []


def test_the_embedding_knows_the_person_again(faces: DlibFaces, astronaut: np.ndarray) -> None:
    mirrored = np.ascontiguousarray(astronaut[:, ::-1])
    a, b = (faces.embed(picture, faces.detect_landmarks(picture)[0].landmarks) for picture in (astronaut, mirrored))
    assert a.shape == (128,) and a.dtype == np.float32
    assert 0 < np.linalg.norm(a - b) < 0.45


def test_values_are_the_same_each_time_and_after_pickling(faces: DlibFaces, astronaut: np.ndarray) -> None:
    other = pickle.loads(pickle.dumps(faces))
    first, second = faces.detect_landmarks(astronaut)[0], other.detect_landmarks(astronaut)[0]
    np.testing.assert_array_equal(first.landmarks, second.landmarks)
    np.testing.assert_array_equal(faces.embed(astronaut, first.landmarks), other.embed(astronaut, first.landmarks))


def test_large_photos_are_found_at_full_size(faces: DlibFaces, astronaut: np.ndarray) -> None:
    large = astronaut.repeat(3, axis=0).repeat(3, axis=1)
    small, big = faces.detect_landmarks(astronaut)[0], faces.detect_landmarks(large)[0]
    eyes = np.linalg.norm(small.landmarks[36] - small.landmarks[45])
    assert np.abs(big.landmarks / 3 - small.landmarks).mean() < 0.05 * eyes


def test_the_protocol_names_the_weights_in_use(faces: DlibFaces) -> None:
    assert faces.weights_sha256[EMBEDDING_FILE] == IDENTITY_PROTOCOL.weights_sha256


def test_the_weights_package_is_never_imported() -> None:
    code = (
        "import sys; from headforge.priors.faces.dlib_faces import DlibFaces; DlibFaces().weights_sha256; "
        "sys.exit('face_recognition_models' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_face_is_found_again_in_its_box_and_none_elsewhere(faces: DlibFaces, astronaut: np.ndarray) -> None:
    found = faces.detect_landmarks(astronaut)[0]
    again = faces.landmarks_in(astronaut, found.box)
    assert again is not None
    eyes = np.linalg.norm(found.landmarks[36] - found.landmarks[45])
    assert np.abs(again.landmarks - found.landmarks).mean() < 0.05 * eyes
    assert abs((again.box[2] - again.box[0]) / (found.box[2] - found.box[0]) - 1) < 0.25
    for left, top in ((300, 300), (20, 250), (380, 60), (-60, -60)):
        assert faces.landmarks_in(astronaut, (left, top, left + 110, top + 110)) is None
