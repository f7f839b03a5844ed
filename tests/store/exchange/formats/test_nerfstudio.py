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
from headforge.geometry.cameras import orbit_camera, viewmat_to_opengl_c2w
from headforge.store.dataset.shards import Dataset, write_dataset_json, write_shard
from headforge.store.exchange.export import export_dataset
from headforge.store.exchange.importing import import_dataset
from headforge.store.exchange.rows import ROWS
from headforge.store.exchange.source import ImportConfig, ImportSource
from headforge.types import NO_HEAD_MODEL, Camera
from tests.store.rows import assert_same_params, sample

CONFIG = ImportConfig(source="real")
CAMERA = orbit_camera(15.0, 5.0, distance_m=1.0, focal_px=40.0, width=16, height=16)


def captured(
    folder: Path, frame: dict[str, Any], shared: dict[str, Any] | None = None, name: str = "images/a.png"
) -> Path:
    """A transforms.json with one frame and its picture; `frame` and `shared` replace or remove (None) values."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sample(0, 0).image).save(folder / name)
    whole = {"file_path": name, "transform_matrix": viewmat_to_opengl_c2w(CAMERA.viewmat).tolist(), **frame}
    content = {"camera_model": "OPENCV", "fl_x": 40.0, "fl_y": 40.0, "cx": 8.0, "cy": 8.0, "w": 16, "h": 16}
    content |= {**(shared or {}), "frames": [{k: v for k, v in whole.items() if v is not None}]}
    (folder / "transforms.json").write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return folder


def test_one_file_per_person_with_numbers_per_frame(dataset: Dataset, tmp_path: Path) -> None:
    export_dataset(dataset, "nerfstudio", tmp_path / "out")
    files = sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("transforms.json")
    )
    assert files == [
        *(f"test/{name}/transforms.json" for name in ("000000", "000003")),
        *(f"train/{name}/transforms.json" for name in ("000001", "000002", "000004", "000005")),
    ]
    content = json.loads((tmp_path / "out" / "train" / "000002" / "transforms.json").read_text())
    frame, expected = content["frames"][1], sample(2, 1)
    assert content["camera_model"] == "OPENCV"
    assert (frame["fl_x"], frame["cx"], frame["w"], frame["k1"]) == (float(expected.camera.K[0, 0]), 8.0, 16, 0.0)
    matrix = torch.tensor(frame["transform_matrix"])
    torch.testing.assert_close(matrix[:3, 3], expected.camera.centre)
    forward = -matrix[:3, 2]  # OpenGL looks along -z; this camera looks at the origin
    torch.testing.assert_close(forward, -expected.camera.centre / expected.camera.centre.norm())
    mask = np.array(Image.open(tmp_path / "out" / "train" / "000002" / frame["mask_path"]))
    np.testing.assert_array_equal(mask, expected.mask)


@pytest.mark.parametrize("with_rows", [True, False])
def test_round_trip_gives_the_same_cameras_and_pixels(dataset: Dataset, tmp_path: Path, with_rows: bool) -> None:
    export_dataset(dataset, "nerfstudio", tmp_path / "out")
    if not with_rows:
        (tmp_path / "out" / ROWS).unlink()
    made = import_dataset("nerfstudio", CONFIG, ImportSource(tmp_path / "out"), tmp_path / "back")
    back = Dataset(tmp_path / "back")
    assert (back.subject_ids(), made.n_views, made.rejects) == (dataset.subject_ids(), 18, ())
    for subject_id in dataset.subject_ids():
        for found, expected in zip(back.samples(subject_id), dataset.samples(subject_id), strict=True):
            np.testing.assert_array_equal(found.image, expected.image)
            np.testing.assert_array_equal(found.mask, expected.mask)
            torch.testing.assert_close(found.camera.viewmat, expected.camera.viewmat, atol=1e-6, rtol=1e-6)
            torch.testing.assert_close(found.camera.K, expected.camera.K, atol=1e-6, rtol=1e-6)
            if with_rows:
                assert_same_params(found.params, expected.params)
                assert (found.split, found.seed) == (expected.split, expected.seed)
            else:
                assert (found.params.model_id, found.source) == (NO_HEAD_MODEL, "real")


def test_numbers_may_stand_once_for_all_frames_or_be_an_angle(tmp_path: Path) -> None:
    shared: dict[str, Any] = dict.fromkeys(("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_model"), None)
    shared |= {"camera_angle_x": 2 * math.atan(8.0 / 40.0)}
    captured(tmp_path / "person", {"file_path": "images/a"}, shared)
    import_dataset("nerfstudio", CONFIG, ImportSource(tmp_path / "person" / "transforms.json"), tmp_path / "out")
    found = Dataset(tmp_path / "out").sample("person", 0)
    torch.testing.assert_close(found.camera.K, CAMERA.K)
    torch.testing.assert_close(found.camera.viewmat, CAMERA.viewmat, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("frame", "gate", "said"),
    [
        ({"transform_matrix": [[float("nan")] * 4] * 4}, "camera", "not 4 x 4 finite numbers"),
        ({"transform_matrix": None}, "camera", "not 4 x 4 finite numbers"),
        ({"fl_x": float("inf")}, "camera", "no finite number fl_x"),
        ({"fl_x": "40"}, "camera", "no finite number fl_x"),
        ({"k1": 0.1}, "camera", "lens distortion"),
        ({"camera_model": "OPENCV_FISHEYE"}, "camera", "of the model OPENCV_FISHEYE"),
        ({"w": 32}, "camera", "its camera is for 32 x 16 px"),
        ({"file_path": "../a.png"}, "path", "leads out of the folder"),
        ({"mask_path": "../../a.png"}, "path", "leads out of the folder"),
        ({"mask_path": "masks/none.png"}, "mask", "does not exist"),
        ({"file_path": 3}, "frame", "no file_path"),
    ],
)
def test_bad_frames_are_rejected_with_a_reason(tmp_path: Path, frame: dict[str, Any], gate: str, said: str) -> None:
    captured(tmp_path / "in" / "good", {})
    captured(tmp_path / "in" / "bad", frame)
    made = import_dataset("nerfstudio", CONFIG, ImportSource(tmp_path / "in"), tmp_path / "out")
    assert Dataset(tmp_path / "out").subject_ids() == ["good"]
    assert [reject.gate for reject in made.rejects] == [gate]
    assert said in made.rejects[0].reason


def test_one_broken_file_among_several_is_rejected(tmp_path: Path) -> None:
    captured(tmp_path / "in" / "good", {})
    captured(tmp_path / "in" / "bad", {})
    (tmp_path / "in" / "bad" / "transforms.json").write_text("{")
    made = import_dataset("nerfstudio", CONFIG, ImportSource(tmp_path / "in"), tmp_path / "out")
    assert [(r.item, r.gate) for r in made.rejects] == [("bad/transforms.json", "file")]
    with pytest.raises(InputError, match="not readable JSON"):
        import_dataset("nerfstudio", CONFIG, ImportSource(tmp_path / "in" / "bad"), tmp_path / "out2")
    with pytest.raises(InputError, match=r"no transforms\.json"):
        import_dataset("nerfstudio", CONFIG, ImportSource(tmp_path / "in" / "good" / "images"), tmp_path / "out2")


def test_names_that_are_no_file_names_become_plain_and_stay_apart(tmp_path: Path) -> None:
    for name in ("a.b", "a b", "a-b"):
        captured(tmp_path / "in" / name, {})
    import_dataset("nerfstudio", CONFIG, ImportSource(tmp_path / "in"), tmp_path / "out")
    found = Dataset(tmp_path / "out").subject_ids()
    assert len(set(found)) == 3 and "a-b" in found
    assert all(name.startswith("a-b") for name in found)


def test_a_skewed_camera_is_refused(tmp_path: Path) -> None:
    skewed = dataclasses.replace(sample(0, 0), camera=Camera(sample(0, 0).camera.K.clone(), torch.eye(4), 16, 16))
    skewed.camera.K[0, 1] = 0.5
    write_shard(tmp_path / "data" / "shards" / "part-00000.parquet", [[skewed]])
    write_dataset_json(tmp_path / "data", generator="builtin", params={}, licences={})
    with pytest.raises(DataError, match="000000/0: a camera of the model OPENCV has no skew"):
        export_dataset(Dataset(tmp_path / "data"), "nerfstudio", tmp_path / "out")
    assert not (tmp_path / "out").exists()
