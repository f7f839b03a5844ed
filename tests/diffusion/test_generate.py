"""Sampling held-out identities and the views of a person in a photo."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from headforge.diffusion.bank import load_bank
from headforge.diffusion.config import GenerateConfig
from headforge.diffusion.generate import foreground_masks, generate_heldout, generate_portrait_views, sample_targets
from headforge.diffusion.model_files import load_model, save_model
from headforge.diffusion.targets import Target, heldout_targets
from headforge.errors import ConfigError, DataError, ModelMismatchError
from headforge.geometry.cameras import orbit_camera, yaw_pitch_deg
from headforge.store.dataset.shards import Dataset, read_shard_samples
from headforge.store.dataset.tables import read_predictions, read_tracks
from headforge.store.images import encode_png
from headforge.types import Camera
from tests.diffusion.conftest import seeded_model, tiny_samples
from tests.heads import tiny_head

CONFIG = GenerateConfig(n_reference_views=3, n_targets=2, n_ddim_steps=3, portrait_n_yaws=3)
ROUNDING_LEVELS = 1
"""Largest difference of a pixel that batching may cause."""


@pytest.fixture(scope="module")
def model_folder(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, seeded_model(), dataset_folder / "head_model.safetensors", {})
    return folder


def test_targets_leave_out_references_and_rejected_views(dataset_folder: Path, tracked_folder: Path) -> None:
    dataset = Dataset(dataset_folder)
    bank = load_bank(dataset, dataset.subject_ids("test"), read_tracks(tracked_folder), 16)
    assert heldout_targets(bank, 3, 2) == [
        Target("000002", 3, 0), Target("000002", 5, 0), Target("000005", 3, 0), Target("000005", 4, 0)
    ]  # fmt: skip


def test_heldout_predictions(model_folder: Path, dataset_folder: Path, tracked_folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        generate_heldout(CONFIG, model_folder, dataset_folder, tracked_folder, tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    found = read_predictions(tmp_path / "a.parquet")
    wanted = [("000002", 3), ("000002", 5), ("000005", 3), ("000005", 4)]
    for method in ("control_exact", "control_tracked"):
        assert [(p.subject_id, p.view) for p in found if p.method == method] == wanted
    assert all(p.reference_view == 0 and p.image.shape == (16, 16, 3) for p in found)
    by_method = {p.method: p.image for p in found if (p.subject_id, p.view) == wanted[0]}
    assert not np.array_equal(by_method["control_exact"], by_method["control_tracked"])


def test_a_picture_does_not_depend_on_its_neighbours(model_folder: Path, dataset_folder: Path) -> None:
    trained, dataset = load_model(model_folder), Dataset(dataset_folder)
    bank = load_bank(dataset, dataset.subject_ids(), None, 16)
    targets = heldout_targets(bank, 3, 2)
    together = sample_targets(CONFIG, trained, bank, targets, "control_exact")
    alone = [sample_targets(CONFIG, trained, bank, [target], "control_exact")[0] for target in targets]
    for a, b in zip(together, alone, strict=True):
        assert (a.subject_id, a.view) == (b.subject_id, b.view)
        assert int(np.abs(a.image.astype(int) - b.image.astype(int)).max()) <= ROUNDING_LEVELS


def write_portrait(folder: Path, model_id: str) -> Camera:
    """A tracked portrait of the tiny head, 64 px, seen from 20 degrees."""
    folder.mkdir()
    camera = orbit_camera(20.0, 5.0, distance_m=0.7, focal_px=160.0, width=64, height=64)
    sample = tiny_samples(1)[1]
    params = {name: value.tolist() for name, value in sample.params.tensors().items()}
    params["neck"] = [0.0, 0.2, 0.0]
    found = {"K": camera.K.tolist(), "viewmat": camera.viewmat.tolist(), "width": 64, "height": 64}
    (folder / "track.json").write_text(json.dumps({"model_id": model_id, "params": params, "camera": found}))
    (folder / "photo.png").write_bytes(encode_png(sample.image.repeat(2, 0).repeat(2, 1)))
    return camera


def test_portrait_views(model_folder: Path, tmp_path: Path) -> None:
    camera = write_portrait(tmp_path / "ada", "tiny-test-head")
    for name in ("a", "b"):
        generate_portrait_views(CONFIG, model_folder, tmp_path / "ada", tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    views = read_shard_samples(tmp_path / "a.parquet")
    assert len(views) == 3 * len(CONFIG.portrait_pitches_deg)
    for sample in views:
        yaw, pitch = yaw_pitch_deg(sample.camera)
        assert (float(yaw), float(pitch)) == pytest.approx((sample.yaw_deg, sample.pitch_deg), abs=1e-3)
        torch.testing.assert_close(sample.camera.centre.norm(), camera.centre.norm())
        torch.testing.assert_close(sample.camera.K, camera.resized(16, 16).K)
        assert sample.subject_id == "ada" and sample.source == CONFIG.domain
        assert float(sample.params.neck.abs().sum()) == 0
    assert {round(sample.yaw_deg) for sample in views} == {-60, 0, 60}


def test_a_portrait_of_another_head_model_is_refused(model_folder: Path, tmp_path: Path) -> None:
    write_portrait(tmp_path / "bob", "some-other-head")
    with pytest.raises(ModelMismatchError):
        generate_portrait_views(CONFIG, model_folder, tmp_path / "bob", tmp_path / "views.parquet")
    with pytest.raises(DataError, match="not a tracked portrait"):
        generate_portrait_views(CONFIG, model_folder, tmp_path, tmp_path / "views.parquet")
    assert not (tmp_path / "views.parquet").exists()


def test_masks_keep_the_head_and_what_hangs_together_with_it() -> None:
    images, control = torch.ones(1, 3, 16, 16), torch.zeros(1, 9, 16, 16)
    control[0, -1, 4:8, 4:8] = 0.9
    images[0, :, 4:14, 4:8] = 0.2
    images[0, :, 0, 15] = 0.8
    mask = foreground_masks(images, control)[0]
    assert mask[6, 6] == 255 and mask[12, 6] == 255, "the head, and hair below it"
    assert mask[0, 15] == 0 and mask[6, 12] == 0, "a grain in the background, and the background"
    images[0] = 1
    assert foreground_masks(images, control)[0][6, 6] == round(0.9 * 255)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError) as error:
        GenerateConfig(domain="painted")
    assert error.value.key == "generate.domain"
    with pytest.raises(ConfigError):
        GenerateConfig(n_ddim_steps=0)


def test_the_tiny_head_is_the_one_of_the_model(model_folder: Path) -> None:
    assert load_model(model_folder).head.model_id == tiny_head().model_id
