"""Photos: choosing a face, crops, fits of rendered faces, mattes, rejections."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headforge.errors import Rejected
from headforge.flame.builtin.head import builtin_head
from headforge.flame.model import pose_head
from headforge.geometry.cameras import orbit_camera, project
from headforge.geometry.meshes import interpolate_on_faces
from headforge.render.mesh import rasterize
from headforge.track.config import TrackConfig
from headforge.track.crop import HeadCrop, crop_around_landmarks
from headforge.track.mattes.matting import MattePrior, matte
from headforge.track.photo.photo import track_photo
from headforge.track.solver.jaw_line import contour_embedding

HAIR, SKIN, WALL = (90, 60, 30), (220, 170, 140), (60, 90, 160)


@dataclass(frozen=True)
class Face:
    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float


@dataclass(frozen=True)
class Faces:
    """A detector stub that returns the ground truth."""

    found: Sequence[Face]

    def detect_landmarks(self, image: np.ndarray) -> Sequence[Face]:
        return self.found


@dataclass(frozen=True)
class Portrait:
    photo: np.ndarray
    face: Face
    truth: np.ndarray
    """[H, W] bool: head, hair and neck."""
    skin: np.ndarray
    """[H, W] bool: without hair."""


def painted_portrait(yaw_deg: float) -> Portrait:
    """The builtin head in one colour with a cap of hair in front of a wall, 400 x 300 px."""
    head = builtin_head()
    generator = torch.Generator().manual_seed(1)
    params = head.neutral((1,)).replace(shape=0.8 * torch.randn(1, head.n_shape, generator=generator))
    vertices = pose_head(head, params)
    camera = orbit_camera(torch.tensor([yaw_deg]), torch.tensor([5.0]), distance_m=1.0, focal_px=780, width=400,
                          height=300)  # fmt: skip
    faces, barycentrics = contour_embedding(head, yaw_deg)
    landmarks = project(camera, interpolate_on_faces(vertices, head.faces, faces, barycentrics))[0][0].numpy()
    skin = rasterize(vertices, head.faces, camera).mask[0].numpy()
    centre = project(camera, torch.tensor([[[0.0, 0.05, -0.01]]]))[0][0, 0].numpy()
    rows, columns = np.mgrid[:300, :400] + 0.5
    hair = (np.hypot(columns - centre[0], rows - centre[1]) < 84) & (rows < landmarks[19, 1] - 8)
    noise = np.random.default_rng(0).normal(0, 6, (300, 400, 3))
    colours = np.where(hair[..., None], HAIR, np.where(skin[..., None], SKIN, WALL)) + noise
    face = Face((0, 0, 10, 10), landmarks.astype(float), 1.0)
    return Portrait(colours.clip(0, 255).astype(np.uint8), face, hair | skin, skin)


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("yaw_deg", [25.0, -25.0])
def test_a_painted_portrait_is_fitted_cropped_and_cut_out(tmp_path: Path, yaw_deg: float) -> None:
    portrait = painted_portrait(yaw_deg)
    config = TrackConfig(photo_size=256)
    track = track_photo(config, portrait.photo, "someone", builtin_head(), Faces([portrait.face]), tmp_path / "out")
    written = json.loads((tmp_path / "out" / "track.json").read_text())
    assert track.status == "ok"
    assert written["yaw_deg"] == pytest.approx(yaw_deg, abs=3)
    assert written["residual_eye_distance"] < 0.02
    assert max(float(track.params.shape.abs().max()), float(track.params.expr.abs().max())) <= 3
    pictures = {name: np.asarray(Image.open(tmp_path / "out" / f"{name}.png")) for name in
                ("original_crop", "mask", "photo", "overlay")}  # fmt: skip
    assert all(picture.shape[:2] == (256, 256) for picture in pictures.values())
    crop = HeadCrop(**written["crop"])
    truth, _ = crop.cut(np.repeat(255 * portrait.truth[..., None].astype(np.uint8), 3, axis=2))
    inside = crop.cut(portrait.photo)[1]
    above_neck = np.arange(256)[:, None] < np.array(written["landmarks"])[8, 1]
    shown = inside & above_neck
    assert intersection_over_union((pictures["mask"] > 127) & shown, (truth[..., 0] > 127) & shown) > 0.93
    assert bool((pictures["photo"][:20, :20] == 255).all())


def test_a_photo_without_a_face_is_rejected_and_nothing_is_written(tmp_path: Path) -> None:
    photo = np.zeros((80, 80, 3), np.uint8)
    with pytest.raises(Rejected) as error:
        track_photo(TrackConfig(), photo, "coffee", builtin_head(), Faces([]), tmp_path / "out")
    assert error.value.gate == "no_face"
    assert "help:" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_landmarks_of_no_face_are_rejected(tmp_path: Path) -> None:
    points = 200 * np.random.default_rng(3).random((68, 2))
    points[36], points[45] = (60.0, 80.0), (140.0, 80.0)
    with pytest.raises(Rejected) as error:
        track_photo(TrackConfig(), np.zeros((200, 200, 3), np.uint8), "dog", builtin_head(),
                    Faces([Face((0, 0, 1, 1), points, 0.1)]), tmp_path / "out")  # fmt: skip
    assert error.value.gate in ("implausible_face", "yaw", "roll")


def test_a_face_that_is_too_small_or_does_not_exist_is_rejected(tmp_path: Path) -> None:
    portrait = painted_portrait(0.0)
    tiny = Face((0, 0, 1, 1), portrait.face.landmarks / 8, 1.0)
    with pytest.raises(Rejected) as error:
        track_photo(TrackConfig(), portrait.photo, "far", builtin_head(), Faces([tiny]), tmp_path / "out")
    assert error.value.gate == "face_size"
    with pytest.raises(Rejected) as error:
        track_photo(TrackConfig(), portrait.photo, "x", builtin_head(), Faces([portrait.face]), tmp_path / "o", 4)
    assert error.value.gate == "face_index"


def test_landmarks_that_are_not_finite_are_rejected(tmp_path: Path) -> None:
    portrait = painted_portrait(0.0)
    points = portrait.face.landmarks.copy()
    points[[3, 40], 1] = np.nan
    with pytest.raises(Rejected, match="2 of 68 landmarks are not finite") as error:
        track_photo(
            TrackConfig(), portrait.photo, "x", builtin_head(), Faces([Face((0, 0, 1, 1), points, 1)]), tmp_path
        )
    assert error.value.gate == "landmarks"


def test_crops_map_points_as_they_map_pixels() -> None:
    photo = np.zeros((90, 120, 3), np.uint8)
    photo[40:44, 60:64] = 255
    crop = HeadCrop(left=-10, top=20, side=100, size=200)
    image, inside = crop.cut(photo)
    rows, columns = np.nonzero((image[..., 0] > 127) & inside)
    centre = np.array([[columns.mean() + 0.5, rows.mean() + 0.5]])
    np.testing.assert_allclose(crop.to_photo(centre), [[62.0, 42.0]], atol=0.26)
    np.testing.assert_allclose(crop.to_crop(crop.to_photo(centre)), centre)
    assert not inside[:, :19].any() and bool((image[:, :19] == 255).all())


def test_the_first_crop_surrounds_the_head() -> None:
    portrait = painted_portrait(20.0)
    crop = crop_around_landmarks(portrait.face.landmarks, 256, 1.0)
    rows, columns = np.nonzero(portrait.skin[:200])
    corners = np.array([[columns.min(), rows.min()], [columns.max(), rows.min()]])
    inside = crop.to_crop(corners.astype(float))
    assert float(inside.min()) > 0 and float(inside.max()) < 256


def test_the_matte_finds_hair_beyond_the_prior_and_leaves_the_wall() -> None:
    rows, columns = np.mgrid[:128, :128]
    distance = np.hypot(columns - 64, rows - 64)
    truth = distance < 44
    noise = np.random.default_rng(0).normal(0, 5, (128, 128, 3))
    image = (np.where(truth[..., None], HAIR, WALL) + noise).clip(0, 255).astype(np.uint8)
    prior = MattePrior(distance < 25, distance > 62, 0.6 * np.exp(-((np.maximum(distance - 30, 0) / 16) ** 2)))
    assert intersection_over_union(matte(image, prior) > 0.5, truth) > 0.97
