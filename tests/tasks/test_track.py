"""Recipes of the stage `track`: what they name, and that settings which came later leave older results found."""

from __future__ import annotations

from pathlib import Path

import pytest

from headforge.flame.builtin.head import builtin_head
from headforge.flame.files import save_head
from headforge.store.dataset.shards import write_dataset_json, write_shard
from headforge.track.config import TrackConfig
from tasks.track import portrait_items, shard_items
from tests.track.test_track import samples


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "shards").mkdir()
    write_shard(tmp_path / "shards" / "part-00000.parquet", [samples(builtin_head(), 0)])
    save_head(builtin_head(), tmp_path / "head_model.safetensors")
    write_dataset_json(tmp_path, generator="test", params={}, licences={})
    return tmp_path


def test_settings_that_came_later_are_named_only_where_they_count(dataset: Path) -> None:
    before, known = (shard_items(TrackConfig(camera=camera), dataset)[0].recipe for camera in ("estimated", "known"))
    assert not {"camera", "landmarks", "min_face_views"} & set(before.params)
    assert not any(name.startswith("photo_") for name in before.params)
    assert known.params["camera"] == "known"
    photo = portrait_items(TrackConfig(camera="known"), dataset, {"a": "builtin:astronaut"}, dataset)[0].recipe
    assert "camera" not in photo.params


def test_detected_landmarks_depend_on_the_detector_and_on_their_noise(dataset: Path) -> None:
    pytest.importorskip("dlib")
    recipe = shard_items(TrackConfig(landmarks="detected"), dataset)[0].recipe
    assert "shape_predictor_68_face_landmarks.dat" in recipe.inputs
    assert "photo_landmark_noise" in recipe.params
    assert "photo_size" not in recipe.params
