"""Datasets of people that a trained generator makes up, with a stand-in that draws discs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headforge.errors import ConfigError
from headforge.geometry.cameras import orbit_camera
from headforge.settings import params_of
from headforge.store.dataset.coverage import read_coverage
from headforge.store.dataset.identities import read_identities
from headforge.store.dataset.shards import Dataset
from headforge.store.dataset.tables import read_rejects
from headforge.synth.config import SynthesizeConfig
from headforge.synth.generated import over_white
from headforge.synth.generators import Generator, make_generator
from headforge.synth.remake import compare_views, remake_view
from headforge.synth.synthesize import assemble_dataset, shard_subjects, synthesize_one, synthesize_shard
from headforge.types import NO_HEAD_MODEL, Camera

CONFIG = SynthesizeConfig(
    generator="spherehead", n_subjects=3, views_per_subject=4, image_size=32, subjects_per_shard=2, n_reference_views=1
)


class Discs:
    """A disc whose grey level tells person and view; every third view's fills the picture."""

    licences: Mapping[str, str] = {"discs": "free"}

    def latent(self, seed: int, subject: int) -> np.ndarray:
        return np.random.default_rng([seed, subject]).standard_normal(64)

    def draw(
        self, seed: int, subject: int, angles_deg: Mapping[int, tuple[float, float]], size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, Camera]]:
        y, x = np.mgrid[:size, :size] - size / 2 + 0.5
        for view, (yaw, pitch) in angles_deg.items():
            radius = 2 * size if view % 3 == 2 else size / 3
            mask = (np.hypot(x, y) < radius).astype(np.uint8) * 255
            image = np.full((size, size, 3), 10 * subject + view, np.uint8)
            yield image, mask, orbit_camera(yaw, pitch, distance_m=1.1, focal_px=4.0 * size, width=size, height=size)


def _discs(config: SynthesizeConfig = CONFIG) -> Generator[Any]:
    return make_generator(config, Discs())


def _dataset(config: SynthesizeConfig, folder: Path, detector: Any = None) -> Dataset:
    shards = []
    for number, subjects in enumerate(shard_subjects(config)):
        shards.append(folder / f"shard{number}")
        synthesize_shard(config, subjects, shards[-1], detector=detector, generator=_discs(config))
    assemble_dataset(config, shards, folder / "data", licences=Discs.licences)
    return Dataset(folder / "data")


def test_rows_know_cameras_and_nothing_of_the_head(tmp_path: Path) -> None:
    data = _dataset(CONFIG, tmp_path)
    assert data.subject_ids() == ["000000", "000001", "000002"]
    samples = data.samples("000001")
    assert [sample.view for sample in samples] == [0, 1, 3]
    for sample in samples:
        assert sample.params.model_id == NO_HEAD_MODEL and sample.params.shape.numel() == 0
        assert (sample.source, sample.timestep, sample.camera_id) == ("synthetic", 0, f"camera_{sample.view:02d}")
        assert torch.allclose(sample.camera.centre.norm(), torch.tensor(1.1), atol=1e-5)
        assert sample.image[16, 16].tolist() == [10 + sample.view] * 3 and sample.image[0, 0].tolist() == [255] * 3
    assert data.description["licences"] == Discs.licences
    assert data.description["generator"] == "spherehead" and data.description["n_rejected"] == 3
    assert (tmp_path / "data" / "head_model.safetensors").is_file()


def test_views_follow_the_common_sampler(tmp_path: Path) -> None:
    builtin = SynthesizeConfig(views_per_subject=4, image_size=32, n_reference_views=1)
    for sample in _dataset(CONFIG, tmp_path).samples("000000"):
        other = synthesize_one(builtin, 0, sample.view)
        assert (sample.yaw_deg, sample.pitch_deg) == (other.yaw_deg, other.pitch_deg)
        assert (sample.split, sample.seed) == (other.split, other.seed)


def test_gates_reject_with_reasons(tmp_path: Path) -> None:
    config = SynthesizeConfig(**{**vars(CONFIG), "gate_detector": "dlib"})
    data = _dataset(config, tmp_path, detector=lambda image: [])
    rejects = read_rejects(tmp_path / "data" / "rejects.parquet")
    gates = {reject.item: reject.gate for reject in rejects}
    assert gates["000000/0"] == "detector" and gates["000000/2"] == "mask_area"
    assert all("no face" in reject.reason for reject in rejects if reject.gate == "detector")
    assert data.description["n_rejected"] == len(rejects)


def test_identities_are_the_latent_codes(tmp_path: Path) -> None:
    _dataset(CONFIG, tmp_path)
    found = read_identities(tmp_path / "data" / "identities.parquet")
    expected = Discs().latent(0, 1) / 8
    assert np.allclose(found[1].vector, expected, atol=1e-6) and found[1].cluster == 0
    cells = read_coverage(tmp_path / "data" / "coverage.parquet")
    assert {cell.expression for cell in cells} == {"unknown"} and sum(cell.n_views for cell in cells) == 9


def test_a_view_is_made_again_alone(tmp_path: Path) -> None:
    data = _dataset(CONFIG, tmp_path)
    remade = remake_view(data, 2, 3, _discs())
    assert compare_views(remade, data.sample("000002", 3)).is_equal


def test_the_generated_background_can_be_kept() -> None:
    config = SynthesizeConfig(**{**vars(CONFIG), "background": "generated"})
    assert synthesize_one(config, 1, 0, _discs(config)).image[0, 0].tolist() == [10] * 3


def test_over_white_mixes_by_the_mask() -> None:
    image, mask = np.full((1, 3, 3), 100, np.uint8), np.array([[0, 51, 255]], np.uint8)
    assert over_white(image, mask)[0, :, 0].tolist() == [255, 224, 100]


def test_weights_are_asked_for() -> None:
    with pytest.raises(ConfigError, match="needs its weights"):
        synthesize_one(CONFIG, 0, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"background": "studio"}, {"appearance": "rich"}, {"motion": "sequence"}, {"gate_min_landmarks": 3},
        {"generator_device": "tpu"}, {"generator_batch": 8}, {"generator_half": True}, {"generator_psi": 2.0},
    ],
)  # fmt: skip
def test_settings_that_a_trained_generator_lacks_are_refused(change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises(ConfigError, match=f"synthesize.{name}"):
        SynthesizeConfig(**{**vars(CONFIG), **change})


def test_settings_of_trained_generators_do_not_touch_the_builtin() -> None:
    assert not [name for name in params_of(SynthesizeConfig()) if name.startswith("generator_")]
