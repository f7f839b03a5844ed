from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from headforge.errors import DataError, InputError
from headforge.geometry.cameras import project
from headforge.store.dataset.shards import Dataset
from headforge.store.exchange.export import export_dataset
from headforge.store.exchange.formats.colmap import colmap_frames
from headforge.store.exchange.importing import import_dataset
from headforge.store.exchange.rows import ROWS
from headforge.store.exchange.source import ImportConfig, ImportSource
from headforge.store.images import encode_png
from headforge.types import HeadParams
from tests.store.exchange.posed import find_landmarks, one_picture, posed_dataset
from tests.store.rows import sample

CONFIG = ImportConfig(source="real")


def lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]


def test_the_model_is_what_colmap_documents(tmp_path: Path) -> None:
    dataset = posed_dataset(tmp_path / "data")
    export_dataset(dataset, "colmap", tmp_path / "out", landmarks=find_landmarks)
    place = tmp_path / "out" / "train" / "000001"
    cameras, images = (lines(place / "sparse/0" / name) for name in ("cameras.txt", "images.txt"))
    points = lines(place / "sparse/0" / "points3D.txt")
    assert [words[:4] for words in cameras] == [["1", "PINHOLE", "16", "16"]]
    poses, observed = images[::2], images[1::2]
    assert [words[-1] for words in poses] == [f"{view:05d}.png" for view in range(12)]
    samples = dataset.samples("000001")
    expected = find_landmarks(HeadParams.stack([s.params for s in samples]))
    by_id = {words[0]: torch.tensor([float(x) for x in words[1:4]]) for words in points}
    assert len(points) == 68 and len(points[0]) == 8 + 2 * 12
    torch.testing.assert_close(by_id["31"], expected[:, 30].mean(0))
    pixels, _ = project(samples[5].camera, expected[5])
    x, y, point = observed[5][3 * 30 : 3 * 30 + 3]
    assert point == "31"
    torch.testing.assert_close(torch.tensor([float(x), float(y)]), pixels[30], atol=1e-3, rtol=0)
    qw, qx, qy, qz = (float(v) for v in poses[5][1:5])
    assert qw**2 + qx**2 + qy**2 + qz**2 == pytest.approx(1)
    tracks = points[30][8:]
    assert tracks[10:12] == ["6", "30"], "the sixth picture's point number 30, from 0"
    assert (place / "masks" / "00005.png.png").is_file()


@pytest.mark.parametrize("with_rows", [True, False])
def test_round_trip_gives_the_same_cameras_and_pixels(dataset: Dataset, tmp_path: Path, with_rows: bool) -> None:
    export_dataset(dataset, "colmap", tmp_path / "out")
    if not with_rows:
        (tmp_path / "out" / ROWS).unlink()
    made = import_dataset("colmap", CONFIG, ImportSource(tmp_path / "out"), tmp_path / "back")
    back = Dataset(tmp_path / "back")
    assert (back.subject_ids(), made.n_views, made.rejects) == (dataset.subject_ids(), 18, ())
    for subject_id in dataset.subject_ids():
        for found, expected in zip(back.samples(subject_id), dataset.samples(subject_id), strict=True):
            np.testing.assert_array_equal(found.image, expected.image)
            np.testing.assert_array_equal(found.mask, expected.mask)
            torch.testing.assert_close(found.camera.viewmat, expected.camera.viewmat, atol=1e-6, rtol=0)
            torch.testing.assert_close(found.camera.K, expected.camera.K, atol=1e-5, rtol=0)


def model(folder: Path, camera: str, pose: str = "1 1 0 0 0 0 0 1 1", name: str = "a.png") -> Path:
    """A model with one picture of 16 px and one that is fine."""
    (folder / "images").mkdir(parents=True)
    (folder / "sparse" / "0").mkdir(parents=True)
    for picture in ("a.png", "fine.png"):
        (folder / "images" / picture).write_bytes(encode_png(sample(0, 0).image))
    (folder / "sparse/0/cameras.txt").write_text(f"# comment\n1 {camera}\n2 SIMPLE_PINHOLE 16 16 40 8 8\n")
    (folder / "sparse/0/images.txt").write_text(f"# comment\n{pose} {name}\n\n2 1 0 0 0 0 0 1 2 fine.png\n1 2 -1\n")
    return folder


@pytest.mark.parametrize(
    ("camera", "pose", "name", "gate", "said"),
    [
        ("OPENCV 16 16 40 40 8 8 0.1 0 0 0", None, None, "camera", "lens distortion"),
        ("FULL_OPENCV 16 16 40 40 8 8 0 0 0 0 0 0 0 0", None, None, "camera", "of the model FULL_OPENCV"),
        ("PINHOLE 16 16 40 40 8", None, None, "camera", "without its 6 finite numbers"),
        ("PINHOLE 16 16 nan 40 8 8", None, None, "camera", "without its 6 finite numbers"),
        ("PINHOLE 32 16 40 40 8 8", None, None, "camera", "its camera is for 32 x 16 px"),
        ("PINHOLE 16 16 40 40 8 8", "1 0 0 0 0 0 0 1 1", None, "camera", "finite numbers with a quaternion"),
        ("PINHOLE 16 16 40 40 8 8", "1 x 0 0 0 0 0 1 1", None, "camera", "finite numbers with a quaternion"),
        ("PINHOLE 16 16 40 40 8 8", "1 1 0 0 0 0 0 1 9", None, "camera", "cameras.txt does not have"),
        ("PINHOLE 16 16 40 40 8 8", "1 1 0 0", None, "frame", "a line of 5 words"),
        ("PINHOLE 16 16 40 40 8 8", None, "../a.png", "path", "leads out"),
        ("PINHOLE 16 16 40 40 8 8", None, "none.png", "picture", "does not exist"),
    ],
)
def test_bad_images_are_rejected_alone(
    tmp_path: Path, camera: str, pose: str | None, name: str | None, gate: str, said: str
) -> None:
    model(tmp_path / "in" / "anna", camera, pose or "1 1 0 0 0 0 0 1 1", name or "a.png")
    made = import_dataset("colmap", CONFIG, ImportSource(tmp_path / "in"), tmp_path / "out")
    assert ([reject.gate for reject in made.rejects], made.n_views) == ([gate], 1)
    assert said in made.rejects[0].reason
    assert Dataset(tmp_path / "out").subject_ids() == ["anna"]


def test_models_without_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no cameras\.txt"):
        import_dataset("colmap", CONFIG, ImportSource(tmp_path), tmp_path / "out")
    (tmp_path / "images.bin").touch()
    with pytest.raises(InputError, match="only a binary model"):
        list(colmap_frames(CONFIG, ImportSource(tmp_path)))


def test_radial_models_without_distortion_are_pinholes(tmp_path: Path) -> None:
    model(tmp_path / "anna", "RADIAL 16 16 41 7.5 8 0 0")
    import_dataset("colmap", CONFIG, ImportSource(tmp_path / "anna"), tmp_path / "out")
    K = Dataset(tmp_path / "out").sample("anna", 0).camera.K
    torch.testing.assert_close(K, torch.tensor([[41.0, 0.0, 7.5], [0.0, 41.0, 8.0], [0.0, 0.0, 1.0]]))


def test_a_skewed_camera_is_refused(tmp_path: Path) -> None:
    dataset = one_picture(tmp_path / "data", torch.tensor([[40.0, 0.5, 8.0], [0.0, 40.0, 8.0], [0.0, 0.0, 1.0]]))
    with pytest.raises(DataError, match="PINHOLE has no skew"):
        export_dataset(dataset, "colmap", tmp_path / "out")


def test_named_conventions_are_applied_on_import(dataset: Dataset, tmp_path: Path) -> None:
    """A model whose poses are OpenGL's, and one of mirrored pictures."""
    export_dataset(dataset, "colmap", tmp_path / "out", ["000001"])
    (tmp_path / "out" / ROWS).unlink()
    expected = dataset.samples("000001")
    wrong = ImportConfig(source="real", cameras="opengl_axes")
    import_dataset("colmap", wrong, ImportSource(tmp_path / "out"), tmp_path / "flipped")
    flipped = Dataset(tmp_path / "flipped").sample("000001", 1)
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0])
    torch.testing.assert_close(flipped.camera.viewmat, signs[:, None] * expected[1].camera.viewmat, atol=1e-6, rtol=0)
    import_dataset(
        "colmap", ImportConfig(source="real", cameras="mirrored"), ImportSource(tmp_path / "out"), tmp_path / "mirrored"
    )
    back = Dataset(tmp_path / "mirrored").sample("000001", 1)
    np.testing.assert_array_equal(back.image, expected[1].image[:, ::-1])
    np.testing.assert_array_equal(back.mask, expected[1].mask[:, ::-1])
    torch.testing.assert_close(back.camera.viewmat, expected[1].camera.viewmat, atol=1e-6, rtol=0)
