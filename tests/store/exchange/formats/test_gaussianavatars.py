from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from headforge.errors import DataError, InputError
from headforge.flame.model import pose_head
from headforge.geometry.cameras import project
from headforge.store.dataset.shards import Dataset
from headforge.store.exchange.export import export_dataset
from headforge.store.exchange.formats.flame_params import moment_arrays
from headforge.store.exchange.heads import HeadFacts, read_static_offsets, write_static_offsets
from headforge.store.exchange.importing import import_dataset
from headforge.store.exchange.provenance import PROVENANCE
from headforge.store.exchange.rows import ROWS
from headforge.store.exchange.source import ImportConfig, ImportSource
from headforge.types import NO_HEAD_MODEL, Camera, HeadParams, Sample, Track
from tests.store.exchange.posed import FACTS, HEAD, one_picture, posed_dataset, random_params

CONFIG = ImportConfig(source="synthetic")


@dataclasses.dataclass
class ReadByGaussianAvatars:
    """What its dataset reader and its avatar make of a folder, by the rules of the fact that they are code."""

    frames: dict[str, list[dict[str, Any]]]
    meshes: dict[int, dict[str, np.ndarray]]

    def viewmat(self, frame: dict[str, Any]) -> np.ndarray:
        c2w = np.array(frame["transform_matrix"])
        c2w[:3, 1:3] *= -1
        return np.linalg.inv(c2w)

    def focal(self, frame: dict[str, Any]) -> float:
        return frame["w"] / (2 * math.tan(frame["camera_angle_x"] / 2))


def read_folder(folder: Path) -> ReadByGaussianAvatars:
    assert (folder / "canonical_flame_param.npz").is_file(), "its presence switches the reader on"
    frames, meshes = {}, {}
    for division in ("train", "val", "test"):
        content = json.loads((folder / f"transforms_{division}.json").read_text())
        frames[division] = content["frames"]
        for frame in content["frames"]:
            assert ".png" in frame["file_path"] and (folder / frame["file_path"]).is_file()
            assert Image.open(folder / frame["file_path"]).size == (frame["w"], frame["h"])
            assert isinstance(frame["camera_index"], int) and "camera_id" in frame
            if division != "val" and frame["timestep_index"] not in meshes:
                meshes[frame["timestep_index"]] = dict(np.load(folder / frame["flame_param_path"], allow_pickle=False))
    first = meshes[0]  # the avatar takes shape and static offset from it
    assert first["shape"].ndim == 1 and first["static_offset"].shape[0] == 1
    assert set(meshes) == set(range(max(meshes) + 1)), "missing moments would be heads at the origin"
    for mesh in meshes.values():
        sizes = {"rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "translation": 3}
        assert {key: mesh[key].shape for key in sizes} == {key: (1, size) for key, size in sizes.items()}
        assert {value.dtype for value in mesh.values()} == {np.dtype(np.float32)}
    return ReadByGaussianAvatars(frames, meshes)


def posed(mesh: dict[str, np.ndarray]) -> torch.Tensor:
    names = {"rotation": "rotation", "neck": "neck_pose", "jaw": "jaw_pose", "eyes": "eyes_pose", "expr": "expr",
             "translation": "translation"}  # fmt: skip
    values = {name: torch.from_numpy(mesh[key]) for name, key in names.items()}
    params = HeadParams(HEAD.model_id, shape=torch.from_numpy(mesh["shape"])[None], **values)
    return pose_head(HEAD, params, torch.from_numpy(mesh["static_offset"]))[0]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return posed_dataset(tmp_path / "dataset")


def test_its_reader_sees_our_cameras_and_heads(dataset: Dataset, tmp_path: Path) -> None:
    made = export_dataset(dataset, "gaussianavatars", tmp_path / "out", head=FACTS)
    assert (made.n_subjects, made.n_views) == (2, 24)
    for subject_id in dataset.subject_ids():
        read = read_folder(tmp_path / "out" / subject_id)
        assert {d: len(f) for d, f in read.frames.items()} == {"train": 6, "val": 3, "test": 3}
        for frame in [frame for frames in read.frames.values() for frame in frames]:
            moment, camera = frame["timestep_index"], frame["camera_index"]
            expected = dataset.sample(subject_id, moment * 3 + camera)
            np.testing.assert_allclose(read.viewmat(frame), expected.camera.viewmat.numpy(), atol=1e-6)
            assert read.focal(frame) == pytest.approx(float(expected.camera.K[0, 0]), abs=1e-5)
            vertices = pose_head(HEAD, HeadParams.stack([expected.params]))[0]
            torch.testing.assert_close(posed(read.meshes[moment]), vertices, atol=1e-6, rtol=0)
            image = np.array(Image.open(tmp_path / "out" / subject_id / frame["file_path"]))
            alpha = expected.mask[..., None] / 255
            np.testing.assert_allclose(image, expected.image * alpha + 255 * (1 - alpha), atol=0.51)
            mask = np.array(Image.open(tmp_path / "out" / subject_id / frame["fg_mask_path"]))
            np.testing.assert_array_equal(mask, expected.mask)
    canonical = np.load(tmp_path / "out" / "000000" / "canonical_flame_param.npz")
    assert canonical["jaw_pose"].ravel().tolist() == [pytest.approx(0.3), 0.0, 0.0]
    assert not canonical["expr"].any() and canonical["shape"].any()
    said = json.loads((tmp_path / "out" / PROVENANCE).read_text())
    assert said["loads_in_gaussianavatars"] is False and said["head_model"] == HEAD.model_id


@pytest.mark.parametrize("with_rows", [True, False])
def test_round_trip_gives_the_same_cameras_and_vertices(dataset: Dataset, tmp_path: Path, with_rows: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    offset = 0.003 * torch.randn(HEAD.n_vertices, 3, generator=rng)
    write_static_offsets(dataset.folder, {"000001": offset})
    export_dataset(dataset, "gaussianavatars", tmp_path / "out", head=FACTS)
    if not with_rows:
        (tmp_path / "out" / ROWS).unlink()
    made = import_dataset(
        "gaussianavatars", CONFIG, ImportSource(tmp_path / "out", head=FACTS, head_file=dataset.head), tmp_path / "back"
    )
    back = Dataset(tmp_path / "back")
    assert (back.subject_ids(), made.n_views, made.rejects) == (dataset.subject_ids(), 24, ())
    assert back.head.read_bytes() == dataset.head.read_bytes()
    for subject_id in dataset.subject_ids():
        for found, expected in zip(back.samples(subject_id), dataset.samples(subject_id), strict=True):
            torch.testing.assert_close(found.camera.viewmat, expected.camera.viewmat, atol=1e-5, rtol=0)
            torch.testing.assert_close(found.camera.K, expected.camera.K, atol=1e-5, rtol=1e-6)
            assert (found.view, found.timestep, found.camera_id) == (
                expected.view, expected.timestep, expected.camera_id,
            )  # fmt: skip
            torch.testing.assert_close(vertices(found), vertices(expected), atol=1e-5, rtol=0)
    if not with_rows:
        kept = read_static_offsets(back.folder)
        assert list(kept) == ["000001"]
        torch.testing.assert_close(kept["000001"], offset)
        assert back.sample("000000", 0).attributes["division"] == "train"


def vertices(sample: Sample) -> torch.Tensor:
    return pose_head(HEAD, HeadParams.stack([sample.params]))


def test_without_a_head_model_the_cameras_come_alone(dataset: Dataset, tmp_path: Path) -> None:
    export_dataset(dataset, "gaussianavatars", tmp_path / "out", head=FACTS)
    (tmp_path / "out" / ROWS).unlink()
    import_dataset("gaussianavatars", CONFIG, ImportSource(tmp_path / "out" / "000001"), tmp_path / "back")
    found = Dataset(tmp_path / "back").sample("000001", 4)
    assert found.params.model_id == NO_HEAD_MODEL and "not taken" in found.attributes["head_parameters"]
    torch.testing.assert_close(found.camera.viewmat, dataset.sample("000001", 4).camera.viewmat, atol=1e-5, rtol=0)


def test_tracks_take_the_place_of_what_the_dataset_says(dataset: Dataset, tmp_path: Path) -> None:
    tracks = {}
    for sample in dataset.samples("000001"):
        camera = Camera(sample.camera.K * torch.tensor([1.1, 1.1, 1.0])[:, None], sample.camera.viewmat, 16, 16)
        camera.K[:2, 2] = 8.0
        ok = sample.view != 5
        track = Track("000001", sample.view, "ok" if ok else "rejected", "", camera, random_params(7, 0), 0.5, 68)
        tracks["000001", sample.view] = track
    made = export_dataset(dataset, "gaussianavatars", tmp_path / "out", tracks=tracks, head=FACTS)
    assert (made.n_subjects, made.n_views, made.n_left_out) == (1, 11, 13)
    read = read_folder(tmp_path / "out" / "000001")
    expected = pose_head(HEAD, HeadParams.stack([random_params(7, 0)]))[0]
    torch.testing.assert_close(posed(read.meshes[0]), expected, atol=1e-6, rtol=0)
    assert read.focal(read.frames["train"][0]) == pytest.approx(1.1 * 41.0, abs=1e-4)
    with pytest.raises(InputError, match="none of the 24 views has a usable track"):
        export_dataset(dataset, "gaussianavatars", tmp_path / "out2", tracks={}, head=FACTS)
    assert not (tmp_path / "out2").exists()


def test_an_off_centre_principal_point_is_padded_into_the_middle(tmp_path: Path) -> None:
    dataset = one_picture(tmp_path / "data", torch.tensor([[40.0, 0.0, 6.6], [0.0, 40.0, 9.0], [0.0, 0.0, 1.0]]))
    export_dataset(dataset, "gaussianavatars", tmp_path / "out", head=FACTS)
    read = read_folder(tmp_path / "out" / "000000")
    frame = read.frames["train"][0]
    assert (frame["w"], frame["h"]) == (19, 18)
    expected = dataset.sample("000000", 0)
    points = torch.tensor([[0.02, -0.03, 0.05], [0.0, 0.1, 0.0]])
    ours, _ = project(expected.camera, points)
    viewmat = torch.from_numpy(read.viewmat(frame)).float()
    middle = torch.tensor([[40.0, 0.0, 9.5], [0.0, 40.0, 9.0], [0.0, 0.0, 1.0]])
    theirs, _ = project(Camera(middle, viewmat, 19, 18), points)
    torch.testing.assert_close(theirs, ours + torch.tensor([3.0, 0.0]), atol=0.25, rtol=0)
    image = np.array(Image.open(tmp_path / "out" / "000000" / frame["file_path"]))
    assert (image[:, :3] == 255).all() and (image[16:] == 255).all()


@pytest.mark.parametrize(
    ("K", "said"),
    [
        ([[40.0, 0.5, 8.0], [0.0, 40.0, 8.0]], "skew"),
        ([[40.0, 0.0, 8.0], [0.0, 44.0, 8.0]], "not square"),
        ([[40.0, 0.0, -1.0], [0.0, 40.0, 8.0]], "outside the picture"),
    ],
)
def test_cameras_that_the_format_can_not_say_are_refused(tmp_path: Path, K: list[list[float]], said: str) -> None:
    dataset = one_picture(tmp_path / "data", torch.tensor([*K, [0.0, 0.0, 1.0]]))
    with pytest.raises(DataError, match=said):
        export_dataset(dataset, "gaussianavatars", tmp_path / "out", head=FACTS)
    assert not (tmp_path / "out").exists()


def test_parameters_of_another_head_or_of_none_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not of 'other'"):
        export_dataset(dataset, "gaussianavatars", tmp_path / "out", head=dataclasses.replace(FACTS, model_id="other"))
    with pytest.raises(DataError, match="needs a head model"):
        export_dataset(dataset, "gaussianavatars", tmp_path / "out")


def test_flames_own_sizes_are_written_for_its_reader() -> None:
    flame = HeadFacts("flame", 5143, 20, 10)
    arrays = moment_arrays(HeadParams.neutral("flame", 20, 10), flame, None)
    assert (arrays["shape"].shape, arrays["expr"].shape) == ((300,), (1, 100))
    assert arrays["static_offset"].shape == (1, 5143, 3)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rotation": np.full((1, 3), np.nan)}, "rotation that are not finite"),
        ({"expr": np.ones((1, 40))}, "has 40 numbers in expr"),
        ({"shape": None}, "has no shape"),
        ({"dynamic_offset": np.ones((1, 430, 3))}, "dynamic_offset"),
        ({"static_offset": np.ones((1, 7, 3))}, "static_offset of 7 vertices"),
        ({"static_offset": np.ones((1, HEAD.n_vertices, 3))}, "not its person's"),
        ({"jaw_pose": np.array([{}], dtype=object)}, "has no jaw_pose"),
    ],
)
def test_bad_head_parameters_reject_their_pictures_alone(
    dataset: Dataset, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    export_dataset(dataset, "gaussianavatars", tmp_path / "out", ["000001"], head=FACTS)
    (tmp_path / "out" / ROWS).unlink()
    path = tmp_path / "out" / "000001" / "flame_param" / "00002.npz"
    arrays = {**np.load(path), **changed}
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    made = import_dataset("gaussianavatars", CONFIG, ImportSource(tmp_path / "out", head=FACTS), tmp_path / "back")
    assert (made.n_views, [reject.gate for reject in made.rejects]) == (9, ["head"] * 3)
    assert said in made.rejects[0].reason


def test_bad_folders_and_frames(dataset: Dataset, tmp_path: Path) -> None:
    export_dataset(dataset, "gaussianavatars", tmp_path / "out", ["000001"], head=FACTS)
    (tmp_path / "out" / ROWS).unlink()
    place = tmp_path / "out" / "000001"
    (place / "flame_param" / "00001.npz").write_bytes(b"PK\x03\x04 cut short")
    (place / "transforms_val.json").write_text("[]")
    content = json.loads((place / "transforms_test.json").read_text())
    content["frames"][0]["file_path"] = "../../secret.png"
    content["frames"][1].pop("timestep_index")
    content["frames"][2]["k1"] = 0.2
    (place / "transforms_test.json").write_text(json.dumps(content))
    made = import_dataset("gaussianavatars", CONFIG, ImportSource(tmp_path / "out", head=FACTS), tmp_path / "back")
    gates = sorted(reject.gate for reject in made.rejects)
    assert gates == ["camera", "file", "frame", "head", "head", "path"] and made.n_views == 4
    with pytest.raises(InputError, match=r"no transforms_train\.json"):
        import_dataset("gaussianavatars", CONFIG, ImportSource(tmp_path / "back"), tmp_path / "again")
