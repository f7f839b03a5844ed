"""Every kind of asset: valid files are stored once, others are rejected with one message and nothing is executed."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from headforge.errors import ConfigError, HeadforgeError, InputError
from headforge.flame.files import head_digest
from headforge.flame.readers.flame_files import sort_flame_files
from headforge.flame.readers.ict import read_ict
from headforge.flame.readers.official import read_flame
from headforge.priors import head_models
from headforge.priors.assets import Options, add_asset, find_asset, resolve_asset, source_digest, stored_assets
from headforge.priors.faces.dlib_faces import DlibFaces
from headforge.priors.faces.dlib_files import PUBLISHED
from headforge.priors.gan.checkout import MARKS
from headforge.priors.gan.convert import load_gan
from headforge.priors.head_models import load_head_asset
from headforge.priors.kinds import KINDS
from headforge.priors.licences import LEDGER
from headforge.priors.tensor_files import read_tensors
from headforge.store.files import sha256_file
from headforge.store.objects.store import Store
from tests.priors.asset_files import SPOILT, WHOLE, ict_layout, spoil, spoilt_file
from tests.priors.gan.nets import small_gan


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


Whole = Callable[[str], list[Path]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[Path]]]:
    """Valid files by kind: their folder and the paths to add."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in WHOLE}
    return {kind: (folder, WHOLE[kind](folder)) for kind, folder in folders.items()}


@pytest.fixture
def whole(made: dict[str, tuple[Path, list[Path]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Whole:
    """Copies of them for one test. The small ICT-FaceKit has a layout of its own."""
    monkeypatch.setattr(head_models, "read_ict", lambda folder: read_ict(folder, ict_layout()))

    def copied(kind: str) -> list[Path]:
        folder, paths = made[kind]
        here = Path(shutil.copytree(folder, tmp_path / kind))
        return [here / path.relative_to(folder) for path in paths]

    return copied


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_files_are_kept_and_found_again(tmp_path: Path, store: Store, whole: Whole, kind: str) -> None:
    paths = whole(kind)
    asset = add_asset(store, KINDS[kind], paths)
    assert asset.is_new and asset.kind == kind and set(asset.licences) <= set(LEDGER)
    digests = {role: str(source["sha256"]) for role, source in asset.sources.items()}
    files = [path for given in paths for path in (given.iterdir() if given.is_dir() else [given])]
    assert asset.sha256 == source_digest(digests) and sorted(digests.values()) == sorted(map(sha256_file, files))
    described = json.loads((asset.folder / "asset.json").read_text())
    assert str(tmp_path) not in json.dumps(described), "no path of this machine is kept"
    moved = paths[0].parent.rename(tmp_path / "moved")
    again = add_asset(store, KINDS[kind], [moved / path.name for path in paths])
    assert not again.is_new and again.folder == asset.folder
    assert [one.sha256 for one in stored_assets(store)] == [asset.sha256]
    assert not list(asset.folder.rglob("*.pkl")), "nothing that could be unpickled is kept"


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("kind", WHOLE)
def test_anything_else_is_refused_with_one_message(
    tmp_path: Path, store: Store, whole: Whole, kind: str, how: str
) -> None:
    paths = whole(kind)
    said = spoil(spoilt_file(paths), how, tmp_path / "victim")
    with pytest.raises(InputError) as raised:
        add_asset(store, KINDS[kind], paths)
    assert said in raised.value.message and raised.value.help
    assert not (tmp_path / "victim").exists(), "something in the file was run"
    assert not store.object_paths()


def test_head_models_come_back_as_their_readers_give_them(store: Store, whole: Whole) -> None:
    flame, ict = whole("flame"), whole("ict")
    wanted = {"flame": read_flame(sort_flame_files(flame)), "ict": read_ict(ict[0], ict_layout())}
    for kind, paths in (("flame", flame), ("ict", ict)):
        asset = add_asset(store, KINDS[kind], paths)
        found = load_head_asset(asset)
        assert head_digest(found) == head_digest(wanted[kind])
        assert asset.facts["model_id"] == found.model_id == wanted[kind].model_id


@pytest.mark.parametrize("kind", ["spherehead", "panohead"])
def test_generators_come_back_with_every_weight(store: Store, whole: Whole, kind: str) -> None:
    asset = add_asset(store, KINDS[kind], whole(kind))
    found = load_gan(load_file(asset.folder / "weights.safetensors"), asset.facts)
    wanted = small_gan(kind).state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.state_dict().items())
    assert asset.licences == (kind,) and asset.facts["runs_official_code"] is False


def test_the_code_of_a_checkout_is_part_of_the_asset(tmp_path: Path, store: Store, whole: Whole) -> None:
    paths, repo = whole("spherehead"), tmp_path / "SphereHead"
    for name in (*MARKS, "torch_utils/ops/bias_act.cu", "training/.git/x.txt", "out/picture.py"):
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(f"raise RuntimeError('{name} was run')\n")
    plain = add_asset(store, KINDS["spherehead"], paths)
    official = add_asset(store, KINDS["spherehead"], paths, Options(repo=repo))
    assert official.sha256 != plain.sha256 and official.facts["runs_official_code"] is True
    kept = official.folder / "checkout"
    names = {path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()}
    assert names == {*MARKS, "torch_utils/ops/bias_act.cu"}
    (repo / MARKS[0]).unlink()
    with pytest.raises(InputError, match="is not a checkout"):
        add_asset(store, KINDS["spherehead"], paths, Options(repo=repo))


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


def test_the_digest_of_several_files_does_not_depend_on_their_order() -> None:
    assert (
        source_digest({"a": "1", "b": "2"})
        == source_digest({"b": "2", "a": "1"})
        != source_digest({"a": "2", "b": "1"})
    )
    assert source_digest({"file": "1"}) == "1"


def test_a_checkout_is_only_for_kinds_that_run_one(tmp_path: Path, store: Store) -> None:
    with pytest.raises(InputError, match="can't run code"):
        add_asset(store, KINDS["mediapipe"], WHOLE["mediapipe"](tmp_path), Options(repo=tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_paths_and_none_that_exists(tmp_path: Path, store: Store, kind: str) -> None:
    for paths in ([tmp_path / "a"], [tmp_path / "a", tmp_path / "b", tmp_path / "c"]):
        with pytest.raises(InputError) as raised:
            add_asset(store, KINDS[kind], paths)
        assert raised.value.help


def test_bundles_of_mediapipe_are_looked_into(tmp_path: Path, store: Store) -> None:
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


@pytest.fixture(scope="module")
def dlib_models() -> Path:
    """The folder of the real models, as the package on disk has them."""
    pytest.importorskip("dlib")
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the models are not installed")
    return Path(spec.submodule_search_locations[0]) / "models"


def test_dlibs_published_files_give_the_same_faces(store: Store, dlib_models: Path) -> None:
    asset = add_asset(store, KINDS["dlib"], [dlib_models])
    assert set(asset.facts["as_published"].values()) == {True} and len(asset.sources) == 2
    picture = pytest.importorskip("skimage.data").astronaut()
    own, packaged = DlibFaces(asset.folder), DlibFaces()
    assert own.weights_sha256 == packaged.weights_sha256
    marks = own.detect_landmarks(picture)[0].landmarks
    np.testing.assert_array_equal(marks, packaged.detect_landmarks(picture)[0].landmarks)
    np.testing.assert_array_equal(own.embed(picture, marks), packaged.embed(picture, marks))


@pytest.mark.parametrize("how", ["LFS pointer", "404 page", "truncated", "hostile pickle"])
def test_dlib_files_that_are_none(tmp_path: Path, store: Store, dlib_models: Path, how: str) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for name in PUBLISHED:
        (folder / name).symlink_to(dlib_models / name)
    path = folder / "dlib_face_recognition_resnet_model_v1.dat"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    said = spoil(path, how, tmp_path / "victim")
    with pytest.raises(InputError) as raised:
        add_asset(store, KINDS["dlib"], [folder])
    assert said in raised.value.message and not (tmp_path / "victim").exists() and not store.object_paths()
