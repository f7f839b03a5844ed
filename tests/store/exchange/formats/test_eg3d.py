from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headforge.errors import InputError
from headforge.geometry.cameras import camera_to_eg3d, orbit_camera
from headforge.store.dataset.shards import Dataset, write_dataset_json, write_shard
from headforge.store.dataset.tables import read_rejects
from headforge.store.exchange.export import export_dataset
from headforge.store.exchange.importing import import_dataset
from headforge.store.exchange.source import ImportConfig, ImportSource
from headforge.types import NO_HEAD_MODEL
from tests.store.rows import assert_same_params, sample

CONFIG = ImportConfig(source="synthetic", licence="CC-BY")


def labelled(folder: Path, n: int, size: int = 16) -> list[list[object]]:
    """n pictures in `folder` and their labels."""
    labels: list[list[object]] = []
    for i in range(n):
        name = f"00000/img{i:08d}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sample(i, 0, size).image).save(folder / name)
        camera = orbit_camera(20.0 * i, 10.0, distance_m=2.7, focal_px=4.26 * size, width=size, height=size)
        labels.append([name, camera_to_eg3d(camera).tolist()])
    return labels


def write_labels(folder: Path, labels: object) -> Path:
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return folder


def test_labels_are_25_numbers_and_every_picture_of_a_folder_has_one(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_dataset(dataset, "eg3d", out)
    for folder, n in ((out, 18), (out / "train", 12), (out / "test", 6)):
        labels = dict(json.loads((folder / "dataset.json").read_text())["labels"])
        pictures = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
        assert set(labels) == pictures and len(pictures) == n
        assert {len(label) for label in labels.values()} == {25}
    label = dict(json.loads((out / "dataset.json").read_text())["labels"])["train/000002/00001.png"]
    torch.testing.assert_close(torch.tensor(label), camera_to_eg3d(sample(2, 1).camera))


@pytest.mark.parametrize("part", ["", "dataset.json", "test"])
def test_round_trip_gives_the_same_rows(dataset: Dataset, tmp_path: Path, part: str) -> None:
    export_dataset(dataset, "eg3d", tmp_path / "out")
    made = import_dataset("eg3d", CONFIG, ImportSource(tmp_path / "out" / part), tmp_path / "back")
    back = Dataset(tmp_path / "back")
    wanted = dataset.subject_ids("test" if part == "test" else None)
    assert (back.subject_ids(), made.rejects) == (wanted, ())
    assert back.description["licences"] == dataset.description["licences"]
    assert back.description["head_models"] == ["tiny-test-head"]
    for subject_id in wanted:
        for found, expected in zip(back.samples(subject_id), dataset.samples(subject_id), strict=True):
            np.testing.assert_array_equal(found.image, expected.image)
            np.testing.assert_array_equal(found.mask, expected.mask)
            torch.testing.assert_close(found.camera.viewmat, expected.camera.viewmat, atol=1e-6, rtol=1e-6)
            torch.testing.assert_close(found.camera.K, expected.camera.K, atol=1e-6, rtol=1e-6)
            assert_same_params(found.params, expected.params)
            for name in ("view", "split", "source", "seed", "yaw_deg", "pitch_deg", "quality", "attributes"):
                assert getattr(found, name) == getattr(expected, name), name


def test_a_foreign_file_has_no_head_parameters_and_no_masks(tmp_path: Path) -> None:
    labels = labelled(tmp_path / "in", 3)
    made = import_dataset("eg3d", CONFIG, ImportSource(write_labels(tmp_path / "in", labels)), tmp_path / "out")
    assert (made.n_subjects, made.n_views) == (3, 3)
    data = Dataset(tmp_path / "out")
    found = data.sample("img00000001", 0)
    assert (found.params.model_id, found.seed, found.source) == (NO_HEAD_MODEL, -1, "synthetic")
    assert {name: value.numel() for name, value in found.params.tensors().items()} == dict.fromkeys(
        found.params.tensors(), 0
    )
    assert (found.mask == 255).all() and found.attributes["mask"].startswith("not given")
    assert (found.yaw_deg, found.pitch_deg) == pytest.approx((20.0, 10.0), abs=1e-4)
    assert data.description["head_models"] == []
    assert data.description["licences"] == {"import-eg3d": "CC-BY"}
    assert data.description["params"]["synthetic_media"] is True
    assert data.parameters().params.shape.shape == (3, 0)


def test_a_mirrored_copy_is_the_same_person(tmp_path: Path) -> None:
    labels = labelled(tmp_path / "in", 2)
    mirrored = "00000/img00000001_mirror.png"
    shutil.copy(tmp_path / "in" / str(labels[1][0]), tmp_path / "in" / mirrored)
    import_dataset(
        "eg3d",
        CONFIG,
        ImportSource(write_labels(tmp_path / "in", [*labels, [mirrored, labels[1][1]]])),
        tmp_path / "out",
    )
    assert Dataset(tmp_path / "out").views_of("img00000001") == [0, 1]


def test_masks_from_a_folder_and_people_by_folder(tmp_path: Path) -> None:
    labels = labelled(tmp_path / "in", 3)
    for i, (name, _) in enumerate(labels[:2]):
        (tmp_path / "masks" / str(name)).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sample(i, 0).mask).save(tmp_path / "masks" / str(name))
    config = ImportConfig(source="real", by_folder=True)
    made = import_dataset(
        "eg3d", config, ImportSource(write_labels(tmp_path / "in", labels), masks=tmp_path / "masks"), tmp_path / "out"
    )
    data = Dataset(tmp_path / "out")
    np.testing.assert_array_equal(data.sample("00000", 1).mask, sample(1, 0).mask)
    assert [(r.item, r.gate) for r in made.rejects] == [("00000/img00000002.png", "mask")]


def bad_labels(folder: Path) -> tuple[list[list[object]], dict[str, str]]:
    """Labels of which only the first is good, and the gate at which each other one ends."""
    good = labelled(folder, 1)[0]
    numbers = good[1]
    assert isinstance(numbers, list)
    changed = {name: str(good[0]).replace("img", name) for name in ("nan", "short", "text", "scaled", "focal", "last")}
    for name in changed.values():
        shutil.copy(folder / str(good[0]), folder / name)
    (folder / "00000" / "broken.png").write_bytes(b"\x89PNG no")
    Image.fromarray(np.zeros((32, 16, 3), np.uint8)).save(folder / "00000" / "tall.png")
    labels = [
        good,
        [changed["nan"], [float("nan"), *numbers[1:]]],
        [changed["short"], numbers[:24]],
        [changed["text"], ["x", *numbers[1:]]],
        [changed["scaled"], [*(2 * v for v in numbers[:11]), *numbers[11:]]],
        [changed["focal"], [*numbers[:16], -4.0, *numbers[17:]]],
        [changed["last"], [*numbers[:12], 1.0, *numbers[13:]]],
        ["../outside.png", numbers],
        ["/etc/hostname", numbers],
        ["00000/missing.png", numbers],
        ["00000/broken.png", numbers],
        ["00000/tall.png", numbers],
        ["link/outside.png", numbers],
    ]
    gates = dict.fromkeys((changed["nan"], changed["short"], changed["text"]), "label")
    gates |= dict.fromkeys((changed["scaled"], changed["focal"], changed["last"]), "camera")
    gates |= dict.fromkeys(("../outside.png", "/etc/hostname", "link/outside.png"), "path")
    gates |= {"00000/missing.png": "picture", "00000/broken.png": "picture", "00000/tall.png": "size"}
    return labels, gates


def test_bad_frames_are_rejected_with_a_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    labels, gates = bad_labels(folder)
    Image.fromarray(sample(0, 0).image).save(tmp_path / "outside.png")
    (folder / "link").symlink_to(tmp_path)
    made = import_dataset("eg3d", CONFIG, ImportSource(write_labels(folder, [*labels, "odd"])), tmp_path / "out")
    assert made.n_views == 1
    rejects = read_rejects(tmp_path / "out" / "rejects.parquet")
    assert {r.item: r.gate for r in rejects} == gates | {"label 13": "label"}
    assert all(r.reason for r in rejects)
    assert Dataset(tmp_path / "out").description["n_rejected"] == 13


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "not readable JSON"), ("[" * 100_000, "not readable JSON"), ("[]", "no list 'labels'"),
     ('{"labels": null}', "no list 'labels'"), ('{"labels": [["a.png", []]]}', "none of the 1 pictures")],
)  # fmt: skip
def test_a_file_without_a_usable_label_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(InputError, match=said):
        import_dataset("eg3d", CONFIG, ImportSource(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pictures_are_turned_as_their_exif_says(tmp_path: Path) -> None:
    labels = labelled(tmp_path / "in", 1)
    stored = sample(0, 0).image
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "in" / str(labels[0][0]), exif=exif)
    import_dataset("eg3d", CONFIG, ImportSource(write_labels(tmp_path / "in", labels)), tmp_path / "out")
    found = Dataset(tmp_path / "out").sample("img00000000", 0)
    np.testing.assert_array_equal(found.image, np.rot90(stored, -1))


def test_shards_are_closed_after_enough_pictures(tmp_path: Path) -> None:
    config = ImportConfig(source="real", views_per_shard=2)
    import_dataset(
        "eg3d", config, ImportSource(write_labels(tmp_path / "in", labelled(tmp_path / "in", 5))), tmp_path / "out"
    )
    assert [shard["n_views"] for shard in Dataset(tmp_path / "out").description["shards"]] == [2, 2, 1]


def test_a_changed_camera_gets_its_own_angles(dataset: Dataset, tmp_path: Path) -> None:
    export_dataset(dataset, "eg3d", tmp_path / "out", ["000001"])
    path = tmp_path / "out" / "dataset.json"
    content = json.loads(path.read_text())
    moved = orbit_camera(33.0, 7.0, distance_m=1.0, focal_px=40.0, width=16, height=16)
    content["labels"][0][1] = camera_to_eg3d(moved).tolist()
    path.write_text(json.dumps(content))
    import_dataset("eg3d", CONFIG, ImportSource(path), tmp_path / "back")
    found = Dataset(tmp_path / "back").sample("000001", 0)
    assert (found.yaw_deg, found.pitch_deg) == pytest.approx((33.0, 7.0), abs=1e-4)


@pytest.mark.parametrize("to", ["eg3d", "nerfstudio"])
def test_moments_of_a_rig_come_back(tmp_path: Path, to: str) -> None:
    rows = [dataclasses.replace(sample(1, view), timestep=view // 2, camera_id=f"c{view % 2}") for view in range(4)]
    write_shard(tmp_path / "rig" / "shards" / "part-00000.parquet", [rows], has_moments=True)
    write_dataset_json(tmp_path / "rig", generator="builtin", params={}, licences={})
    export_dataset(Dataset(tmp_path / "rig"), to, tmp_path / "out")
    import_dataset(to, CONFIG, ImportSource(tmp_path / "out"), tmp_path / "back")
    found = Dataset(tmp_path / "back").samples("000001")
    assert [(row.timestep, row.camera_id) for row in found] == [(0, "c0"), (0, "c1"), (1, "c0"), (1, "c1")]
