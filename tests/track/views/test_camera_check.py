"""The check of a dataset's cameras, with a detector stub that returns the ground truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from headforge.errors import DataError, InputError
from headforge.flame.model import landmarks, pose_head
from headforge.geometry.cameras import orbit_camera, project
from headforge.store.dataset.shards import Dataset, write_dataset_json, write_shard
from headforge.store.images import decode_image
from headforge.track.config import TrackConfig
from headforge.track.track import track_shard
from headforge.track.views.camera_check import RIGHT_RGB, STATED_RGB, check_dataset_cameras
from headforge.types import Camera, HeadParams, Sample
from tests.heads import tiny_head
from tests.store.rows import sample

HEAD = tiny_head()
SIZE = 64
OPENGL = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))


@dataclasses.dataclass(frozen=True)
class KnownFace:
    """A detection."""

    landmarks: np.ndarray
    box: Sequence[float] = (0.0, 0.0, 10.0, 10.0)
    score: float = 1.0


class KnownFaces:
    """Finds the landmarks of a picture by the numbers in its first pixel: person and view."""

    def __init__(self, landmarks: dict[tuple[int, int], np.ndarray]) -> None:
        self._landmarks = landmarks

    def detect_landmarks(self, image: np.ndarray) -> list[KnownFace]:
        key = (int(image[0, 0, 0]), int(image[0, 0, 1]))
        return [KnownFace(self._landmarks[key])] if key in self._landmarks else []


def people(n_people: int, n_views: int, is_wrong: bool) -> tuple[list[list[Sample]], KnownFaces]:
    """People from several sides whose cameras are stated rightly or with OpenGL's axes, and their faces."""
    camera = orbit_camera(
        torch.linspace(-30, 30, n_people * n_views), torch.linspace(-10, 10, n_views).repeat(n_people),
        distance_m=1.0, focal_px=180.0, width=SIZE, height=SIZE,
    )  # fmt: skip
    points = landmarks(HEAD, pose_head(HEAD, HEAD.neutral((n_people * n_views,))))
    pixels = project(camera, points)[0].numpy()
    rows, found = [], {}
    for person in range(n_people):
        views = []
        for view in range(n_views):
            number = person * n_views + view
            image = np.full((SIZE, SIZE, 3), 90, np.uint8)
            image[0, 0, :2] = person, view
            viewmat = OPENGL @ camera.viewmat[number] if is_wrong else camera.viewmat[number]
            views.append(
                dataclasses.replace(
                    sample(person, view, SIZE),
                    image=image,
                    params=HeadParams.unknown(),
                    camera=Camera(camera.K[number], viewmat, SIZE, SIZE),
                )
            )
            found[person, view] = pixels[number]
        rows.append(views)
    return rows, KnownFaces(found)


def stored(folder: Path, rows: list[list[Sample]]) -> Dataset:
    write_shard(folder / "shards" / "part-00000.parquet", rows)
    write_dataset_json(folder, generator="import", params={}, licences={})
    return Dataset(folder)


@pytest.mark.parametrize(("n_people", "n_views"), [(2, 5), (6, 1)])
@pytest.mark.parametrize("is_wrong", [False, True])
def test_the_convention_is_found_with_a_picture_of_it(
    tmp_path: Path, n_people: int, n_views: int, is_wrong: bool
) -> None:
    rows, faces = people(n_people, n_views, is_wrong)
    report = check_dataset_cameras(stored(tmp_path, rows), HEAD, faces, tmp_path / "check.png")
    assert report.check.verdict == ("opengl_axes" if is_wrong else "as_stated")
    assert report.n_faces == (5 if n_views > 1 else 6)
    assert report.check.world is not None and not report.check.world.warning
    picture = decode_image((tmp_path / "check.png").read_bytes())
    assert np.array_equal(picture, report.picture)
    assert (picture == RIGHT_RGB).all(-1).any()
    assert (picture == STATED_RGB).all(-1).any() == is_wrong


@pytest.mark.parametrize("is_wrong", [False, True])
def test_a_head_that_moves_before_one_camera_is_checked_by_its_parameters(tmp_path: Path, is_wrong: bool) -> None:
    rows, _ = people(1, 4, is_wrong)
    still, found, moved = rows[0][0].camera, {}, []
    for view, row in enumerate(rows[0]):
        params = HEAD.neutral().replace(rotation=torch.tensor([0.0, 0.15 * view, 0.0]))
        moved.append(dataclasses.replace(row, camera=still, params=params))
        right = dataclasses.replace(still, viewmat=OPENGL @ still.viewmat) if is_wrong else still
        found[0, view] = project(right, landmarks(HEAD, pose_head(HEAD, HeadParams.stack([params])))[0])[0].numpy()
    report = check_dataset_cameras(stored(tmp_path, [moved]), HEAD, KnownFaces(found))
    assert report.check.verdict == ("opengl_axes" if is_wrong else "as_stated")
    assert (report.picture == RIGHT_RGB).all(-1).any()


def test_a_person_without_faces_is_passed_over(tmp_path: Path) -> None:
    rows, faces = people(2, 5, False)
    faces = KnownFaces({key: value for key, value in faces._landmarks.items() if key[0] == 1})
    assert check_dataset_cameras(stored(tmp_path, rows), HEAD, faces).subject_ids == ("000001",)


def test_no_faces_is_an_error_that_says_so(tmp_path: Path) -> None:
    rows, _ = people(2, 2, False)
    with pytest.raises(InputError, match="no face was found"):
        check_dataset_cameras(stored(tmp_path, rows), HEAD, KnownFaces({}), tmp_path / "check.png")
    assert not (tmp_path / "check.png").exists()


@pytest.mark.parametrize("is_wrong", [False, True])
def test_tracking_with_known_cameras_stops_at_the_first_subject(tmp_path: Path, is_wrong: bool) -> None:
    rows, faces = people(1, 6, is_wrong)
    write_shard(tmp_path / "in.parquet", rows)
    config = TrackConfig(camera="known", landmarks="detected")
    if is_wrong:
        with pytest.raises(DataError, match="another convention, opengl_axes"):
            track_shard(config, tmp_path / "in.parquet", HEAD, tmp_path / "out", faces=faces)
        assert not (tmp_path / "out").exists()
    else:
        track_shard(config, tmp_path / "in.parquet", HEAD, tmp_path / "out", faces=faces)
