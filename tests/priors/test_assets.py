"""Every kind of asset: whole files are kept once, anything else is refused with one message and nothing run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from headforge.errors import ConfigError, HeadforgeError, InputError
from headforge.priors.assets import Options, add_asset, find_asset, resolve_asset, source_digest, stored_assets
from headforge.priors.kinds import KINDS
from headforge.priors.licences import LEDGER
from headforge.priors.tensor_files import read_tensors
from headforge.store.files import sha256_file
from headforge.store.objects import Store
from tests.priors.asset_files import SPOILT, WHOLE, spoil


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_files_are_kept_and_found_again(tmp_path: Path, store: Store, kind: str) -> None:
    paths = WHOLE[kind](tmp_path)
    asset = add_asset(store, KINDS[kind], paths)
    assert asset.is_new and asset.kind == kind and set(asset.licences) <= set(LEDGER)
    digests = {role: str(source["sha256"]) for role, source in asset.sources.items()}
    assert asset.sha256 == source_digest(digests) and sorted(digests.values()) == sorted(map(sha256_file, paths))
    described = json.loads((asset.folder / "asset.json").read_text())
    assert str(tmp_path) not in json.dumps(described), "no path of this machine is kept"
    moved = [path.rename(tmp_path / f"moved-{path.name}") for path in paths]
    again = add_asset(store, KINDS[kind], moved)
    assert not again.is_new and again.folder == asset.folder
    assert [one.sha256 for one in stored_assets(store)] == [asset.sha256]
    assert not list(asset.folder.rglob("*.pkl")), "nothing that could be unpickled is kept"


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("kind", WHOLE)
def test_anything_else_is_refused_with_one_message(tmp_path: Path, store: Store, kind: str, how: str) -> None:
    paths = WHOLE[kind](tmp_path)
    if how == "gone" and len(paths) > 1:
        paths.reverse()
    said = spoil(paths[0], how, tmp_path / "victim")
    with pytest.raises(InputError) as raised:
        add_asset(store, KINDS[kind], paths)
    assert said in raised.value.message and raised.value.help
    assert not (tmp_path / "victim").exists(), "something in the file was run"
    assert not store.object_paths()


def test_files_that_were_damaged_in_the_store_are_made_again(tmp_path: Path, store: Store) -> None:
    paths = WHOLE["mediapipe"](tmp_path)
    asset = add_asset(store, KINDS["mediapipe"], paths)
    kept = asset.folder / "face_landmarker.task"
    kept.chmod(0o644)
    kept.write_bytes(b"x")
    assert find_asset(store, KINDS["mediapipe"], asset.sha256) is None
    again = add_asset(store, KINDS["mediapipe"], paths)
    assert again.is_new and sha256_file(again.folder / "face_landmarker.task") == asset.sha256


def test_stages_get_an_asset_by_the_name_in_the_settings(tmp_path: Path, store: Store) -> None:
    asset = add_asset(store, KINDS["mediapipe"], WHOLE["mediapipe"](tmp_path))
    assets = {"points": asset.sha256, "gone": "0" * 64}
    assert resolve_asset(store, KINDS, "points", assets, "mediapipe") == dataclasses.replace(asset, is_new=False)
    for name, wanted, said in (
        ("nose", "mediapipe", "names no asset 'nose'; it names gone, points"),
        ("gone", "mediapipe", "is not in the store"),
        ("points", "vae", "is of the kind mediapipe, not vae"),
    ):
        with pytest.raises(ConfigError) as raised:
            resolve_asset(store, KINDS, name, assets, wanted)
        assert said in raised.value.message and raised.value.help == f"headforge assets add {wanted} PATH --name {name}"


def test_a_checkout_is_only_for_kinds_that_run_one(tmp_path: Path, store: Store) -> None:
    with pytest.raises(InputError, match="runs no code"):
        add_asset(store, KINDS["mediapipe"], WHOLE["mediapipe"](tmp_path), Options(repo=tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_paths_and_none_that_exists(tmp_path: Path, store: Store, kind: str) -> None:
    for paths in ([tmp_path / "a"], [tmp_path / "a", tmp_path / "b", tmp_path / "c"]):
        with pytest.raises(InputError) as raised:
            add_asset(store, KINDS[kind], paths)
        assert raised.value.help


def test_bundles_of_mediapipe_are_looked_into(tmp_path: Path, store: Store) -> None:
    import zipfile

    path = tmp_path / "pose.task"
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("pose_detector.tflite", b"\x1c\x00\x00\x00TFL3")
    with pytest.raises(InputError, match="lacks face_detector"):
        add_asset(store, KINDS["mediapipe"], [path])
    whole = WHOLE["mediapipe"](tmp_path)[0]
    data = bytearray(whole.read_bytes())
    data[200] ^= 1
    whole.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged|CRC"):
        add_asset(store, KINDS["mediapipe"], [whole])


@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_of_old_and_new_torch(tmp_path: Path, *, zipped: bool) -> None:
    tensors = {"a": torch.arange(4.0), "b": torch.nn.Parameter(torch.ones(2))}
    torch.save(tensors, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = read_tensors(tmp_path / "a.pth")
    assert torch.equal(found["a"], tensors["a"]) and torch.equal(found["b"], torch.ones(2))
    assert not found["b"].requires_grad


def test_dlib_files_are_read_by_dlib(tmp_path: Path, store: Store) -> None:
    pytest.importorskip("dlib")
    names = ("shape_predictor_68_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat")
    for name in names:
        (tmp_path / name).write_bytes(b"\x01\x01\x81\x88" + bytes(100))
    with pytest.raises(HeadforgeError, match="dlib can't read"):
        add_asset(store, KINDS["dlib"], [tmp_path])
    (tmp_path / names[1]).write_bytes(b"BZh91AY&SY" + bytes(100))
    with pytest.raises(InputError, match="is compressed"):
        add_asset(store, KINDS["dlib"], [tmp_path])
    (tmp_path / names[0]).unlink()
    with pytest.raises(InputError, match=names[0]):
        add_asset(store, KINDS["dlib"], [tmp_path])
