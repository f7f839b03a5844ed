"""External landmark files: VHAP's layout, pixels, tables, and invalid files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from headforge.errors import InputError
from headforge.track.video.detect import DETECTED, GIVEN, LOST, FilmLandmarks
from headforge.track.video.landmark_files import NOT_GIVEN, read_landmarks, write_landmarks

POINTS = 10 + 80 * np.random.default_rng(0).random((4, 68, 2))


def film_landmarks() -> FilmLandmarks:
    points = POINTS.copy()
    points[1] = np.nan
    boxes = np.concatenate([points.min(1), points.max(1)], axis=1)
    return FilmLandmarks(points, boxes, (DETECTED, LOST, DETECTED, DETECTED), 200, 100)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path, seen = tmp_path / "a.npz", film_landmarks()
    write_landmarks(path, seen)
    found = read_landmarks(path, 4, 200, 100)
    np.testing.assert_allclose(found.points, seen.points, atol=1e-4)
    np.testing.assert_allclose(found.boxes[[0, 2, 3]], seen.boxes[[0, 2, 3]], atol=1e-4)
    assert found.how == (GIVEN, NOT_GIVEN, GIVEN, GIVEN) and found.found.tolist() == [True, False, True, True]
    assert np.isnan(found.boxes[1]).all()


def test_vhaps_shares_confidences_and_rows_of_minus_one(tmp_path: Path) -> None:
    rows = np.concatenate([POINTS / [200, 100], np.ones((4, 68, 1))], axis=-1)
    rows[2], rows[3, 5, 2], rows[0, 7, 0] = -1, 0, np.nan
    np.savez(tmp_path / "a.npz", face_landmark_2d=rows.astype(np.float32), bounding_box=np.zeros((4, 5)))
    found = read_landmarks(tmp_path / "a.npz", 4, 200, 100)
    seen = np.isfinite(found.points).all(-1)
    assert (~seen).sum() == 70 and not seen[2].any() and not seen[3, 5] and not seen[0, 7]
    np.testing.assert_allclose(found.points[1], POINTS[1], atol=1e-4)


def test_pixels_in_npz_and_csv_are_the_same(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", landmarks=POINTS)
    lines = ["frame,landmark,x,y,confidence"]
    for frame in (0, 1, 3):
        lines += [f"{frame},{i},{x},{y},{0 if i == 4 else 0.9}" for i, (x, y) in enumerate(POINTS[frame].tolist())]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    found = read_landmarks(tmp_path / "a.csv", 4, 200, 100)
    assert found.how == (GIVEN, GIVEN, NOT_GIVEN, GIVEN) and np.isnan(found.points[:, 4]).all()
    same = read_landmarks(tmp_path / "a.npz", 4, 200, 100).points
    np.testing.assert_allclose(found.points[3, 5:], same[3, 5:])


@pytest.mark.parametrize("text", [
    "", "x,y\n1,2\n", "frame,landmark,x,y\n0,68,1,2\n", "frame,landmark,x,y\n-1,0,1,2\n",
    "frame,landmark,x,y\n0,0,one,2\n", "frame,landmark,x,y\n999999999,0,1,2\n", "frame,landmark,x,y\n0\n",
])  # fmt: skip
def test_tables_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError) as error:
        read_landmarks(tmp_path / "a.csv", 1, 200, 100)
    assert "help:" in str(error.value)


def test_other_files_are_refused_and_nothing_in_them_is_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "object.npz", landmarks=np.array([print], dtype=object))
    np.savez(tmp_path / "shape.npz", landmarks=np.zeros((4, 51, 2)))
    np.savez(tmp_path / "other.npz", points=POINTS)
    np.savez(tmp_path / "short.npz", landmarks=POINTS[:3])
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps({"landmarks": 1}))
    whole = (tmp_path / "short.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("object", "shape", "other", "short", "pickle", "cut", "none"):
        with pytest.raises(InputError):
            read_landmarks(tmp_path / f"{name}.npz", 4, 200, 100)
