"""The item of the stage `evaluate`: which weights it takes, and that it is the old one without any."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from headforge.errors import ConfigError
from headforge.metrics.config import EvaluateConfig
from headforge.metrics.perceptual import PerceptualMini
from headforge.priors.assets import add_asset
from headforge.priors.kinds import KINDS
from headforge.priors.lpips import LpipsMetric
from headforge.store.dataset.shards import write_dataset_json, write_shard
from headforge.store.dataset.tables import write_predictions
from headforge.store.objects.store import Store
from tasks.evaluate import evaluate_item, perceptual_asset, perceptual_distance
from tasks.items import Item
from tests.methods import METHODS, MODELS
from tests.priors.asset_files import WHOLE
from tests.store.rows import subjects


def test_weights_are_an_input_and_the_default_has_none(tmp_path: Path) -> None:
    write_shard(tmp_path / "data/shards/part-00000.parquet", subjects(range(1)))
    write_dataset_json(tmp_path / "data", generator="builtin", params={}, licences={})
    write_predictions(tmp_path / "p.parquet", [])
    store = Store(tmp_path / "store")
    asset = add_asset(store, KINDS["lpips-alex"], WHOLE["lpips-alex"](tmp_path))

    def item(name: str) -> Item:
        config = EvaluateConfig(perceptual=name)
        weights = perceptual_asset(config, {"lpips-alex": asset.sha256}, store.root)
        paths = tmp_path / "data", tmp_path / "data", [tmp_path / "p.parquet"], tmp_path / "data"
        return evaluate_item(config, *paths, weights, models=MODELS, methods=METHODS)

    plain, mini, lpips = (item(name).recipe for name in ("none", "mini", "lpips-alex"))
    assert set(plain.inputs) == {"dataset", "tracked", "avatars", "predictions 0"} == set(mini.inputs)
    assert plain.params == {"min_foreground_share": 0.01} and mini.params["perceptual"] == "mini"
    assert lpips.inputs["perceptual"] == asset.sha256
    assert item("lpips-alex").args[-1] == asset.folder and item("none").args[-1] is None
    with pytest.raises(ConfigError) as raised:
        perceptual_asset(EvaluateConfig(perceptual="lpips-vgg"), {"lpips-alex": asset.sha256}, store.root)
    assert raised.value.help == "headforge assets add lpips-vgg PATH --name lpips-vgg"


def test_the_distance_is_what_the_setting_names(tmp_path: Path) -> None:
    asset = add_asset(Store(tmp_path / "store"), KINDS["lpips-alex"], WHOLE["lpips-alex"](tmp_path))
    assert perceptual_distance(EvaluateConfig(), None) is None
    assert isinstance(perceptual_distance(EvaluateConfig(perceptual="mini"), None), PerceptualMini)
    found = perceptual_distance(EvaluateConfig(perceptual="lpips-alex"), asset.folder)
    assert isinstance(found, LpipsMetric) and found.metric == "lpips_alex" and len(found.weights_sha256) == 64
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(found(images[:1], images[1:])).all()
