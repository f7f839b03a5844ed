"""Adapters of packages that are not installed here, against test doubles of their interfaces."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from headforge.errors import InputError, MissingExtraError
from headforge.priors.faces.face_alignment_faces import FaceAlignmentFaces
from headforge.priors.faces.mediapipe_faces import IBUG_POINTS, MediaPipeFaces
from headforge.priors.rembg_matting import RembgMatter

IMAGE = np.zeros((100, 200, 3), np.uint8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    return path


def mesh(left: float, top: float, width: float, height: float) -> list[SimpleNamespace]:
    """478 points on a grid, in shares of the picture."""
    places = np.arange(478)
    return [SimpleNamespace(x=left + width * (i % 22) / 21, y=top + height * (i // 22) / 21, z=0.0) for i in places]


@pytest.fixture
def mediapipe(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """mediapipe 1.2's Image and tasks.vision.FaceLandmarker, with two faces in a wide picture and one in others."""
    seen = SimpleNamespace(options=None, shapes=[])

    class Landmarker:
        @staticmethod
        def create_from_options(options: Any) -> Landmarker:
            if b"broken" in Path(options.base_options.model_asset_path).read_bytes():
                raise RuntimeError("Unable to open zip archive.")
            seen.options = options
            return Landmarker()

        def detect(self, picture: Any) -> SimpleNamespace:
            seen.shapes.append(picture.data.shape)
            wide = picture.data.shape[1] > 150
            faces = [mesh(0.1, 0.1, 0.1, 0.2), mesh(0.5, 0.2, 0.25, 0.5)] if wide else [mesh(0.25, 0.25, 0.5, 0.5)]
            return SimpleNamespace(face_landmarks=faces if picture.data.any() or wide else [])

    double: Any = ModuleType("mediapipe")
    double.Image = lambda image_format, data: SimpleNamespace(image_format=image_format, data=data)
    double.ImageFormat = SimpleNamespace(SRGB=1)
    double.tasks = SimpleNamespace(
        BaseOptions=lambda model_asset_path: SimpleNamespace(model_asset_path=model_asset_path),
        vision=SimpleNamespace(
            FaceLandmarkerOptions=lambda **options: SimpleNamespace(**options), FaceLandmarker=Landmarker
        ),
    )
    monkeypatch.setitem(sys.modules, "mediapipe", double)
    return seen


def test_mediapipes_points_become_ibugs_in_pixels_the_largest_face_first(
    mediapipe: SimpleNamespace, model: Path
) -> None:
    found = pickle.loads(pickle.dumps(MediaPipeFaces(model))).detect_landmarks(IMAGE)
    assert mediapipe.options.base_options.model_asset_path == str(model)
    np.testing.assert_allclose([face.box for face in found], [(100, 20, 150, 70), (20, 10, 40, 30)])
    index = IBUG_POINTS[30]
    expected = [100 + 50 * (index % 22) / 21, 20 + 50 * (index // 22) / 21]
    np.testing.assert_allclose(found[0].landmarks[30], expected)
    assert found[0].landmarks.shape == (68, 2) and len(set(IBUG_POINTS)) == 68


def test_mediapipe_looks_again_around_a_box(mediapipe: SimpleNamespace, model: Path) -> None:
    faces = MediaPipeFaces(model)
    picture = IMAGE.copy()
    picture[:, 100:] = 255
    found = faces.landmarks_in(picture, (110, 30, 150, 70))
    assert mediapipe.shapes[-1] == (88, 88, 3) and found is not None
    assert found.box == pytest.approx((86 + 22, 6 + 22, 86 + 66, 6 + 66))
    assert faces.landmarks_in(picture, (30, 30, 60, 60)) is None
    assert faces.landmarks_in(picture, (-90, -90, -60, -60)) is None


def test_a_file_that_mediapipe_does_not_take_is_refused(mediapipe: SimpleNamespace, model: Path) -> None:
    model.write_bytes(b"broken")
    with pytest.raises(InputError, match="not a model of MediaPipe"):
        MediaPipeFaces(model).detect_landmarks(IMAGE)
    with pytest.raises(InputError, match="does not exist"):
        MediaPipeFaces(model.with_name("none"))


@pytest.fixture
def face_alignment(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """face-alignment 1.5's models.FAN and utils, the network having one weight: the height of all peaks."""
    seen = SimpleNamespace(crops=[])

    class Fan(torch.nn.Module):
        def __init__(self, n_modules: int) -> None:
            super().__init__()
            assert n_modules == 4
            self.height = torch.nn.Parameter(torch.zeros(1))

        def forward(self, picture: torch.Tensor) -> list[torch.Tensor]:
            assert picture.shape == (1, 3, 256, 256) and picture.dtype == torch.float32
            return [self.height.expand(1, 68, 64, 64)]

    def crop(image: np.ndarray, centre: np.ndarray, scale: float) -> np.ndarray:
        seen.crops.append((centre.tolist(), scale))
        return np.zeros((256, 256, 3), np.uint8)

    def peaks(maps: np.ndarray, centre: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        points = centre + scale * np.stack([np.arange(68.0), np.arange(68.0)], -1)
        return points[None] / 4, points[None], maps.max((2, 3))

    double: Any = ModuleType("face_alignment")
    double.models, double.utils = ModuleType("face_alignment.models"), ModuleType("face_alignment.utils")
    double.models.FAN, double.utils.crop, double.utils.get_preds_fromhm = Fan, crop, peaks
    for name, module in (("", double), (".models", double.models), (".utils", double.utils)):
        monkeypatch.setitem(sys.modules, f"face_alignment{name}", module)
    return seen


class OneBox:
    def detect_landmarks(self, image: np.ndarray) -> list[SimpleNamespace]:
        return [SimpleNamespace(box=(50, 20, 128, 137))]


def test_face_alignment_takes_boxes_and_weights_from_elsewhere(face_alignment: SimpleNamespace, model: Path) -> None:
    torch.save({"height": torch.tensor([0.7])}, model)
    (face,) = FaceAlignmentFaces(model, OneBox()).detect_landmarks(IMAGE)
    assert face_alignment.crops == [([89.0, 78.5 - 0.12 * 117], 1.0)]
    assert face.score == pytest.approx(0.7)
    np.testing.assert_allclose(face.landmarks[10], [99.0, 78.5 - 0.12 * 117 + 10])
    torch.save({"height": torch.tensor([0.1])}, model)
    assert FaceAlignmentFaces(model, OneBox()).detect_landmarks(IMAGE) == []


def test_other_files_are_no_weights_of_face_alignment(face_alignment: SimpleNamespace, model: Path) -> None:
    for content in (b"text", pickle.dumps(OneBox)):
        model.write_bytes(content)
        with pytest.raises(InputError, match="holds no weights"):
            FaceAlignmentFaces(model, OneBox()).detect_landmarks(IMAGE)
    torch.save({"width": torch.tensor([0.7])}, model)
    with pytest.raises(InputError, match="holds no weights"):
        FaceAlignmentFaces(model, OneBox()).detect_landmarks(IMAGE)


def test_rembgs_mask_is_the_matte(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    double: Any = ModuleType("rembg")
    double.new_session = lambda name, model_path: (name, model_path)
    mask = np.tile(np.arange(200, dtype=np.uint8), (100, 1))

    def remove(image: np.ndarray, session: object, only_mask: bool) -> np.ndarray:
        assert session == ("u2net_custom", str(model)) and only_mask
        return mask

    double.remove = remove
    monkeypatch.setitem(sys.modules, "rembg", double)
    np.testing.assert_allclose(RembgMatter(model).matte(IMAGE), mask / 255)


@pytest.mark.parametrize("name, make", [
    ("mediapipe", MediaPipeFaces),
    ("face_alignment", lambda path: FaceAlignmentFaces(path, OneBox())),
    ("rembg", RembgMatter),
])  # fmt: skip
def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, model: Path, name: str, make: Any) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError) as error:
        make(model)
    assert "pip install" in error.value.help
