"""Head models that params.yaml names."""

from __future__ import annotations

from pathlib import Path

import pytest

from headforge.errors import ConfigError
from headforge.flame.files import HEAD_FILE, load_head
from headforge.priors.assets import add_asset
from headforge.priors.kinds import KINDS
from headforge.store.objects.store import Store
from headforge.synth.config import SynthesizeConfig
from headforge.track.video.config import VideoConfig
from tasks.inputs.head_models import head_asset
from tasks.track import video_items
from tests.priors.asset_files import WHOLE


def test_no_name_is_no_asset(tmp_path: Path) -> None:
    assert head_asset("", {}, tmp_path) is None


def test_a_named_head_is_what_a_video_is_fitted_with(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    asset = add_asset(store, KINDS["flame"], WHOLE["flame"](tmp_path))
    assets = {"mine": asset.sha256}
    (item,) = video_items(VideoConfig(head="mine"), tmp_path / "nowhere", {"talk": "a" * 64}, {}, assets, store.root)
    assert load_head(asset.folder / HEAD_FILE).model_id.startswith("flame")
    assert asset.folder / HEAD_FILE in item.args


def test_a_name_that_is_none_says_how_to_add_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no asset 'mine'") as raised:
        head_asset("mine", {}, tmp_path)
    assert "headforge assets add flame" in raised.value.help


def test_an_asset_that_is_no_head_model_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    asset = add_asset(store, KINDS["mediapipe"], WHOLE["mediapipe"](tmp_path))
    with pytest.raises(ConfigError, match="of the kind mediapipe"):
        head_asset("points", {"points": asset.sha256}, store.root)


def test_the_builtin_generator_takes_no_other_head() -> None:
    with pytest.raises(ConfigError, match="generator_head"):
        SynthesizeConfig(generator_head="mine")
