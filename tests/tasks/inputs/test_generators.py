"""A trained generator from a checkpoint to rows of a dataset."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from headforge.errors import ConfigError
from headforge.priors.assets import Asset, add_asset
from headforge.priors.gan.generator import DrawSettings, GanPeople
from headforge.priors.kinds import KINDS
from headforge.progress import SILENT
from headforge.store.dataset.shards import read_shard_samples
from headforge.store.dataset.tables import read_rejects
from headforge.store.objects.manifest import read_manifest
from headforge.store.objects.store import Store
from headforge.synth.config import SynthesizeConfig
from headforge.synth.generated import over_white
from headforge.synth.synthesize import BUILTIN_LICENCES
from headforge.types import NO_HEAD_MODEL
from tasks.inputs.generators import dataset_licences, generator_asset, load_generator
from tasks.synthesize import item_of, shard_item, shard_items
from tests.priors.gan.nets import small_facts, small_gan, write_checkpoint

CONFIG = SynthesizeConfig(
    generator="spherehead", n_subjects=2, views_per_subject=2, image_size=64, subjects_per_shard=1,
    gate_min_area=0.0, gate_max_area=1.0, gate_max_border=1.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def asset(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Asset:
    path = tmp_path_factory.mktemp("weights") / "network.pkl"
    write_checkpoint(path, small_gan("spherehead"), small_facts("spherehead"))
    return add_asset(store, KINDS["spherehead"], [path])


def test_the_asset_is_found_by_the_generators_name_or_its_own(store: Store, asset: Asset) -> None:
    assert generator_asset(SynthesizeConfig(), {}, store.root) is None
    for config, name in (
        (CONFIG, "spherehead"),
        (dataclasses.replace(CONFIG, generator_asset="mine"), "mine"),
    ):
        found = generator_asset(config, {name: asset.sha256}, store.root)
        assert found is not None and found.folder == asset.folder
    with pytest.raises(ConfigError, match="names no asset 'spherehead'") as caught:
        generator_asset(CONFIG, {}, store.root)
    assert "headforge assets add spherehead" in caught.value.help


def test_the_key_follows_the_weights(asset: Asset) -> None:
    other = dataclasses.replace(asset, sha256="0" * 64)
    keys = [shard_item(CONFIG, range(1), one).recipe.key for one in (asset, other)]
    assert keys[0] != keys[1]
    assert shard_item(CONFIG, range(1), asset).recipe.inputs["generator"] == asset.sha256
    assert len(shard_items(CONFIG, asset)) == 2


def test_a_shard_holds_what_the_generator_draws(asset: Asset, tmp_path: Path) -> None:
    item = shard_item(CONFIG, range(1, 2), asset)
    item.function(*item.args, tmp_path, SILENT)
    people = GanPeople(small_gan("spherehead"), DrawSettings())
    samples = read_shard_samples(tmp_path / "part.parquet")
    assert [sample.view for sample in samples] == [0, 1] and not read_rejects(tmp_path / "rejects.parquet")
    angles_deg = {sample.view: (sample.yaw_deg, sample.pitch_deg) for sample in samples}
    for sample, (image, mask, _) in zip(samples, people.draw(0, 1, angles_deg, 64), strict=True):
        assert sample.params.model_id == NO_HEAD_MODEL and sample.timestep == 0
        assert np.array_equal(sample.mask, mask) and np.array_equal(sample.image, over_white(image, mask))


def test_a_shard_names_its_item_unless_a_trained_generator_drew_it(store: Store, asset: Asset) -> None:
    builtin = SynthesizeConfig(n_subjects=1, views_per_subject=1, image_size=16)
    for item, is_found in ((shard_item(builtin, range(1)), True), (shard_item(CONFIG, range(1), asset), False)):
        built = store.build(item.recipe, lambda folder: (folder / "part.parquet").touch())
        found = item_of(read_manifest(built.path))
        assert (found is not None) == is_found
        assert found is None or found.recipe.key == item.recipe.key


def test_a_card_is_asked_for_before_anything_is_drawn(asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = dataclasses.replace(CONFIG, generator_device="cuda", generator_batch=8)
    item = shard_item(config, range(1), asset)
    assert item.needs_gpu and item.recipe.key != shard_item(CONFIG, range(1), asset).recipe.key
    with pytest.raises(ConfigError, match="no CUDA device"):
        load_generator(config, asset.folder)


def test_licences_are_those_of_the_weights(asset: Asset) -> None:
    assert dataset_licences(None) == BUILTIN_LICENCES
    found = dataset_licences(asset)
    assert list(found) == ["spherehead"] and "EG3D" in found["spherehead"]
