"""The items of the stage `synthesize`: which settings change which keys."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from headforge.flame.builtin.head import builtin_head
from headforge.store.dataset.identities import Mark, write_marks
from headforge.store.files import write_json
from headforge.synth.builtin.subject import prepare_subject
from headforge.synth.config import SynthesizeConfig
from headforge.synth.gates import check_detector
from headforge.synth.synthesize import synthesize_view
from tasks.synthesize import face_detector, face_embedder, page_item, shard_items

CONFIG = SynthesizeConfig(n_subjects=48, subjects_per_shard=24)


def keys(**changes: object) -> list[str]:
    return [item.recipe.key for item in shard_items(dataclasses.replace(CONFIG, **changes))]  # type: ignore[arg-type]


def test_what_looks_at_all_people_changes_no_shard() -> None:
    assert keys(duplicate_distance=1.0) == keys()
    assert keys(n_subjects=96)[:2] == keys() and len(keys(n_subjects=96)) == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [("sampler", "orbit"), ("motion", "sequence"), ("gate_min_sharpness", 1.0), ("rig_deviation", 0.0)],
)
def test_what_changes_rows_changes_the_key(name: str, value: object) -> None:
    assert not set(keys(**{name: value})) & set(keys())


def test_the_page_follows_the_marks(tmp_path: Path) -> None:
    write_json(tmp_path / "dataset.json", {"shards": []})
    write_marks(tmp_path / "marks.parquet", [])
    before = page_item(tmp_path, 4).recipe.key
    assert page_item(tmp_path, 4).recipe.key == before != page_item(tmp_path, 5).recipe.key
    write_marks(tmp_path / "marks.parquet", [Mark("000001", "leak", "000000", 0.1)])
    assert page_item(tmp_path, 4).recipe.key != before


def test_without_a_detector_there_is_none() -> None:
    assert face_detector("none") is None and face_embedder("parameters") is None


def test_dlib_agrees_with_the_exact_landmarks_of_a_frontal_view() -> None:
    pytest.importorskip("dlib")
    config = SynthesizeConfig(gate_detector="dlib", identity="dlib")
    sample = synthesize_view(config, prepare_subject(0, 0, config.long_hair_share), 0)
    detector, embedder = face_detector("dlib"), face_embedder("dlib")
    assert detector is not None and embedder is not None
    gate, measured = check_detector(config, sample, builtin_head(), detector)
    assert gate is None and measured["detector_error"] < 0.1
    flipped = dataclasses.replace(sample, image=np.ascontiguousarray(sample.image[:, ::-1]))
    shifted = dataclasses.replace(sample, image=np.roll(sample.image, 24, axis=1))
    assert check_detector(config, flipped, builtin_head(), detector)[1]["detector_error"] > measured["detector_error"]
    gate, _ = check_detector(config, shifted, builtin_head(), detector)
    assert gate is not None and gate.name == "detector" and gate.value is not None
    blank = np.full_like(sample.image, 255)
    assert detector(blank) == [] and embedder(blank) is None
    vector = embedder(sample.image)
    assert vector is not None and vector.shape == (128,)
    assert "dlib_face_recognition_resnet_model_v1.dat" in shard_items(config)[0].recipe.inputs
