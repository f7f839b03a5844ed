"""What `import headforge` offers, and what it says when it is given something else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import headforge as hf
from headforge.avatar.export import read_posed_ply, read_spz
from headforge.errors import (
    ConfigError,
    DataError,
    InputError,
    MissingExtraError,
    ModelMismatchError,
    Rejected,
    ShapeError,
)
from headforge.flame.files import save_head
from headforge.priors.faces import dlib_faces
from headforge.store.dataset.shards import Dataset
from headforge.store.images import encode_png
from tests.heads import tiny_head
from tests.track.photo.test_photo import Faces, Portrait, painted_portrait

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return painted_portrait(10.0)


@pytest.fixture(scope="module")
def tracked(portrait: Portrait) -> hf.TrackedPhoto:
    return hf.track_photo(portrait.photo, name="ada", detector=Faces([portrait.face]))


@pytest.fixture(scope="module")
def avatar(project: Path) -> hf.PosedAvatar:
    return hf.load_avatar(project / "data" / "avatars" / "astronaut")


@pytest.mark.parametrize("name", ["headforge", "headforge.errors"])
def test_importing_loads_no_torch(name: str) -> None:
    probe = f"import sys, {name}; print([m for m in ('torch', 'numpy', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there_and_listed() -> None:
    assert set(hf._MODULES) == set(hf.__all__) <= set(dir(hf))
    for name in hf.__all__:
        assert getattr(hf, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'load_hat'"):
        hf.load_hat  # type: ignore[attr-defined]  # noqa: B018


def test_a_dataset_is_a_sequence_of_views(project: Path) -> None:
    dataset = hf.open_dataset(project / "data" / "synthetic")
    assert isinstance(dataset, Dataset) and len(dataset) == 6
    keys = [(sample.subject_id, sample.view) for sample in dataset]
    assert keys == [(dataset[i].subject_id, dataset[i].view) for i in range(6)]
    assert keys == [(name, view) for name in dataset.subject_ids() for view in dataset.views_of(name)]
    np.testing.assert_array_equal(dataset[-1].image, dataset.sample(*keys[-1]).image)
    for index in (6, -7):
        with pytest.raises(IndexError):
            dataset[index]


def test_heads_come_from_the_builtin_one_a_file_or_a_folder(project: Path, tmp_path: Path) -> None:
    builtin = hf.load_head()
    for source in (project / "data" / "synthetic", str(project / "data" / "models" / "head_model.safetensors")):
        torch.testing.assert_close(hf.load_head(source).v_template, builtin.v_template)
    with pytest.raises(InputError) as error:
        hf.load_head(tmp_path)
    assert error.value.path == str(tmp_path / "head_model.safetensors")


def test_a_pose_is_what_was_asked_for() -> None:
    head = hf.load_head()
    params = hf.pose_params(head, expression={"smile": 0.7}, jaw_open_deg=90 / torch.pi, gaze_yaw_deg=10)
    assert params.expr.nonzero().tolist() == [[head.expression_names.index("smile")]]
    assert float(params.jaw[0]) == pytest.approx(0.5)
    assert params.eyes.tolist() == pytest.approx([0, 0.1745, 0, 0, 0.1745, 0], abs=1e-4)
    again = hf.pose_params(head, params, neck_yaw_deg=5)
    assert torch.equal(again.expr, params.expr) and float(again.neck[1]) == pytest.approx(0.0873, abs=1e-4)
    assert not hf.pose_params(head).expr.any()
    with pytest.raises(ConfigError, match="no expression 'grin'") as error:
        hf.pose_params(head, expression={"grin": 1.0})
    assert "smile" in error.value.help


def test_a_head_is_drawn_where_the_camera_sees_it() -> None:
    head = hf.load_head()
    image = hf.render_head(head, size=96)
    assert image.shape == (96, 96, 3) and image.dtype == np.uint8
    shown = (image < 255).any(-1)
    assert 0.2 < shown.mean() < 0.6 and not shown[:8].any() and bool(shown[40, 48])
    left, right = (hf.render_head(head, camera=hf.orbit_camera(yaw, size=96)).astype(int) for yaw in (-60, 60))
    nose = [np.flatnonzero((view[50] < 255).any(-1)) for view in (left, right)]
    assert nose[0][0] + nose[1][-1] == pytest.approx(95, abs=2), "the two profiles mirror each other"
    assert not np.array_equal(hf.render_head(head, hf.pose_params(head, jaw_open_deg=20), size=96), image)
    with pytest.raises(ModelMismatchError):
        hf.render_head(head, tiny_head().neutral())


def test_a_head_without_named_regions_is_drawn() -> None:
    assert hf.render_head(tiny_head(), size=32).min() < 200


def test_a_camera_looks_from_where_it_is_told() -> None:
    camera = hf.orbit_camera(90, 0, size=100, distance_m=2.0)
    torch.testing.assert_close(camera.centre, torch.tensor([2.0, 0.0, 0.0]), atol=1e-6, rtol=0)
    assert (camera.width, camera.height) == (100, 100) and camera.K[0, 2] == 50


def test_a_photo_is_tracked_and_saved(tracked: hf.TrackedPhoto, tmp_path: Path) -> None:
    assert tracked.name == "ada" and tracked.params.model_id == "headforge-builtin-1"
    assert tracked.image.shape == tracked.photo.shape == tracked.overlay.shape == (512, 512, 3)
    assert tracked.mask.shape == (512, 512) and (tracked.camera.width, tracked.camera.height) == (512, 512)
    tracked.save(tmp_path / "ada")
    names = {path.name for path in (tmp_path / "ada").iterdir()}
    assert names == {"original_crop.png", "mask.png", "photo.png", "overlay.png", "track.json"}


def test_photos_come_from_pixels_or_files(portrait: Portrait, tracked: hf.TrackedPhoto, tmp_path: Path) -> None:
    (tmp_path / "bob.png").write_bytes(encode_png(portrait.photo))
    found = hf.track_photo(str(tmp_path / "bob.png"), detector=Faces([portrait.face]))
    assert found.name == "bob" and torch.equal(found.params.shape, tracked.params.shape)
    with pytest.raises(Rejected) as rejected:
        hf.track_photo(portrait.photo, detector=Faces([]))
    assert rejected.value.gate == "no_face" and "help:" in str(rejected.value)
    with pytest.raises(InputError):
        hf.track_photo(tmp_path / "nobody.jpg", detector=Faces([]))
    with pytest.raises(ShapeError):
        hf.track_photo(portrait.photo[..., 0], detector=Faces([]))
    with pytest.raises(ShapeError, match="float64"):
        hf.track_photo(portrait.photo / 255, detector=Faces([]))


def test_without_dlib_the_extra_is_named(portrait: Portrait, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    dlib_faces._dlib.cache_clear()
    with pytest.raises(MissingExtraError) as error:
        hf.track_photo(portrait.photo)
    assert error.value.extra == "photos"
    dlib_faces._dlib.cache_clear()


def test_a_model_samples_views_and_expressions(project: Path, tracked: hf.TrackedPhoto, tmp_path: Path) -> None:
    model = hf.load_model(project / "data" / "models")
    assert model.image_size == 16 and model.head.model_id == tracked.params.model_id
    pictures = model.sample(tracked, yaw_deg=[-20, 0, 20], pitch_deg=5, n_steps=2)
    assert pictures.shape == (3, 16, 16, 3) and pictures.dtype == np.uint8
    np.testing.assert_array_equal(pictures, model.sample(tracked, yaw_deg=[-20, 0, 20], pitch_deg=5, n_steps=2))
    tracked.save(tmp_path / "ada")
    np.testing.assert_array_equal(
        pictures, model.sample(tmp_path / "ada", yaw_deg=[-20, 0, 20], pitch_deg=5, n_steps=2)
    )
    still = model.sample(tracked, n_steps=2)
    open_mouth = hf.pose_params(model.head, tracked.params, jaw_open_deg=25)
    assert not np.array_equal(model.sample(tracked, params=open_mouth, n_steps=2), still)
    both = hf.HeadParams.stack([tracked.params, open_mouth])
    assert len(model.sample(tracked, yaw_deg=[0, 0], params=both, n_steps=2)) == 2
    with pytest.raises(ShapeError):
        model.sample(tracked, yaw_deg=[0, 1, 2], params=both)
    with pytest.raises(ConfigError):
        model.sample(tracked, n_steps=0)


def test_without_diffusers_the_extra_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtraError) as error:
        hf.load_model(project / "data" / "models")
    assert error.value.extra == "diffusion"


def test_an_avatar_moves_and_is_exported(avatar: hf.PosedAvatar, tmp_path: Path) -> None:
    happy = avatar.pose(expression={"smile": 1.0}, jaw_open_deg=15)
    assert avatar.params.expr.abs().sum() == 0, "the first one stays as it is"
    images = [person.render(size=64) for person in (avatar, happy)]
    assert images[0].shape == (64, 64, 3) and not np.array_equal(*images)
    assert images[0].min() < 150 and (images[0][0] == 255).all()
    assert avatar.render(hf.orbit_camera(40, size=48)).shape == (48, 48, 3)
    ply, spz = happy.export(tmp_path / "a.ply"), happy.export(str(tmp_path / "a.spz"))
    cloud = happy.gaussians.posed(happy.head, happy.params)
    torch.testing.assert_close(read_posed_ply(ply).means, cloud.means)
    torch.testing.assert_close(read_spz(spz).means, cloud.means, atol=2e-4, rtol=0)
    assert not torch.allclose(cloud.means, avatar.gaussians.posed(avatar.head, avatar.params).means)
    with pytest.raises(InputError, match=r"exported as '\.obj'"):
        avatar.export(tmp_path / "a.obj")
    with pytest.raises(ModelMismatchError):
        avatar.pose(tiny_head().neutral())


def test_an_avatar_of_another_head_model_asks_for_it(project: Path, tmp_path: Path) -> None:
    folder = project / "data" / "avatars" / "astronaut"
    save_head(tiny_head(), tmp_path / "head_model.safetensors")
    with pytest.raises(ModelMismatchError):
        hf.load_avatar(folder, head=hf.load_head(tmp_path))


@dataclass(frozen=True)
class Mistake:
    """A folder given to the wrong function."""

    call: Callable[[Path], object]
    folder: str
    said: Sequence[str]


MISTAKES = {
    "missing": Mistake(hf.open_dataset, "data/none", ["no folder", "dataset.json"]),
    "avatar as dataset": Mistake(
        hf.open_dataset, "data/avatars/astronaut", ["an avatar, not a dataset", "load_avatar"]
    ),
    "model as avatar": Mistake(hf.load_avatar, "data/models", ["a trained model, not an avatar", "load_model"]),
    "dataset as model": Mistake(hf.load_model, "data/synthetic", ["a dataset, not a trained model", "open_dataset"]),
    "folder of avatars": Mistake(hf.load_avatar, "data/avatars", ["not an avatar", "avatars/astronaut"]),
    "file": Mistake(hf.load_avatar, "data/avatars/astronaut/posed.ply", ["is a file"]),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=list(MISTAKES))
def test_wrong_folders_are_named_with_the_way_on(mistake: Mistake, project: Path) -> None:
    with pytest.raises(InputError) as error:
        mistake.call(project / mistake.folder)
    message = str(error.value)
    assert "help:" in message and all(part in message for part in mistake.said), message


def test_damaged_results_are_data_errors(project: Path, tmp_path: Path) -> None:
    for name, load in {
        "avatar.json": hf.load_avatar,
        "model.json": hf.load_model,
        "dataset.json": hf.open_dataset,
    }.items():
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text("{")
        with pytest.raises(DataError):
            load(folder)


@pytest.mark.parametrize("device", ["cuda", "abacus"])
def test_devices_that_are_not_there_are_refused(device: str, project: Path) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    for load in (hf.load_head, lambda device: hf.load_avatar(project / "data/avatars/astronaut", device=device)):
        with pytest.raises(ConfigError) as error:
            load(device=device)
        assert error.value.key == "device"


def test_pictures_are_shown_side_by_side_and_kept(tmp_path: Path) -> None:
    red, gray = np.full((20, 20, 3), (255, 0, 0), np.uint8), np.full((10, 10), 128, np.uint8)
    assert hf.show(red, size=20).size == (20, 20)
    sheet = hf.show([red, gray], tmp_path / "sheet.png", labels=["a", "b"], size=40)
    assert sheet.size[0] > 2 * 40 and (tmp_path / "sheet.png").is_file()
    assert hf.show(np.stack([red, red, red]), columns=2, size=40).size == (98, 98)
    assert hf.save_image(red, tmp_path / "red.png").read_bytes() == encode_png(red)
    with pytest.raises(InputError):
        hf.save_image(red, tmp_path / "red.bmp")
    with pytest.raises(ShapeError):
        hf.show(red / 255)
