"""The stage `synthesize`: ground truth, independence of shards, datasets on disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from headforge.errors import ConfigError
from headforge.flame.builtin.head import builtin_head
from headforge.flame.files import head_digest, load_head
from headforge.flame.model import landmarks, pose_head
from headforge.geometry.cameras import project
from headforge.store.dataset.coverage import read_coverage
from headforge.store.dataset.identities import MARKS_FILE, read_identities, read_marks
from headforge.store.dataset.shards import Dataset, read_shard_samples
from headforge.store.dataset.tables import read_rejects
from headforge.synth.builtin.subject import prepare_subject
from headforge.synth.config import SynthesizeConfig
from headforge.synth.coverage import bin_of
from headforge.synth.gates import check_picture
from headforge.synth.generators import make_generator
from headforge.synth.shots.shots import n_fixed_cameras
from headforge.synth.synthesize import (
    assemble_dataset,
    shard_subjects,
    synthesize_shard,
    synthesize_subject,
    synthesize_view,
)
from headforge.types import HeadParams, Sample

CONFIG = SynthesizeConfig(n_subjects=3, views_per_subject=3, image_size=48, subjects_per_shard=2)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The three subjects in shards of two."""
    root = tmp_path_factory.mktemp("shards")
    folders = []
    for number, subjects in enumerate(shard_subjects(CONFIG)):
        folders.append(root / str(number))
        synthesize_shard(CONFIG, subjects, folders[-1])
    return folders


def _rows(folders: list[Path]) -> dict[tuple[str, int], Sample]:
    return {(s.subject_id, s.view): s for f in folders for s in read_shard_samples(f / "part.parquet")}


def _measured(config: SynthesizeConfig, sample: Sample) -> Sample:
    """A view with what the gates measured."""
    return dataclasses.replace(sample, quality=check_picture(sample.mask, config)[1])


def _same(a: Sample, b: Sample) -> bool:
    return (
        np.array_equal(a.image, b.image)
        and np.array_equal(a.mask, b.mask)
        and torch.equal(a.camera.viewmat, b.camera.viewmat)
        and all(
            torch.equal(x, y) for x, y in zip(a.params.tensors().values(), b.params.tensors().values(), strict=True)
        )
        and (a.yaw_deg, a.pitch_deg, a.seed, a.split) == (b.yaw_deg, b.pitch_deg, b.seed, b.split)
        and (a.timestep, a.camera_id) == (b.timestep, b.camera_id)
        and a.attributes == b.attributes
        and a.quality == b.quality
    )


def test_shards_partition_the_subjects() -> None:
    assert [list(r) for r in shard_subjects(CONFIG)] == [[0, 1], [2]]
    assert sum(map(len, shard_subjects(SynthesizeConfig()))) == 240


def test_rows_do_not_depend_on_the_shard(shards: list[Path], tmp_path: Path) -> None:
    synthesize_shard(CONFIG, [2, 1], tmp_path)
    rows, again = _rows(shards), _rows([tmp_path])
    assert len(rows) == 9 and len(again) == 6
    assert all(_same(rows[key], sample) for key, sample in again.items())


def test_the_same_subjects_give_the_same_bytes(shards: list[Path], tmp_path: Path) -> None:
    info = synthesize_shard(CONFIG, [0, 1], tmp_path)
    assert (tmp_path / "part.parquet").read_bytes() == (shards[0] / "part.parquet").read_bytes()
    assert info.subject_ids == ("000000", "000001") and info.n_rows == 6


def test_more_views_leave_the_first_ones_alone(shards: list[Path]) -> None:
    config = dataclasses.replace(CONFIG, views_per_subject=5, n_subjects=50)
    prepared = prepare_subject(config.seed, 2, config.long_hair_share)
    stored = _rows(shards)["000002", 1]
    sample = synthesize_view(config, prepared, 1)
    assert np.array_equal(sample.image, stored.image)


def test_another_seed_gives_other_people(shards: list[Path]) -> None:
    samples, _ = synthesize_subject(dataclasses.replace(CONFIG, seed=1, views_per_subject=1), 0)
    stored = _rows(shards)["000000", 0]
    assert not torch.equal(samples[0].params.shape, stored.params.shape)
    assert not np.array_equal(samples[0].image, stored.image)


def test_pictures_show_a_head_over_white(shards: list[Path]) -> None:
    for sample in _rows(shards).values():
        assert sample.image.shape == (48, 48, 3) and sample.mask.shape == (48, 48)
        assert (sample.image[sample.mask == 0] == 255).all()
        assert 0.12 < sample.quality["mask_area"] < 0.75
        assert sample.image[sample.mask == 255].std() > 15
        assert sample.source == "synthetic"
        assert sample.attributes["hair"] in ("bald", "short", "medium", "long")


def test_ground_truth_projects_onto_the_picture(shards: list[Path]) -> None:
    """The landmarks of the stored parameters, through the stored camera, lie on the head."""
    head = builtin_head()
    for sample in _rows(shards).values():
        params = HeadParams(sample.params.model_id, **{k: v[None] for k, v in sample.params.tensors().items()})
        points = landmarks(head, pose_head(head, params))[0]
        xy, _ = project(sample.camera, points)
        inner = xy[17:].long().clamp(0, 47)
        covered = sample.mask[inner[:, 1].numpy(), inner[:, 0].numpy()] > 127
        assert covered.mean() > 0.95


@pytest.mark.parametrize("sampler", ["mead_like", "ranges"])
def test_views_of_fixed_cameras_carry_moment_and_camera(sampler: str, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, sampler=sampler, motion="sequence", views_per_subject=8, sequence_cameras=2)
    synthesize_shard(config, [0], tmp_path / "a")
    rows = _rows([tmp_path / "a"])
    n = n_fixed_cameras(config)
    assert n is not None and len(rows) == 8
    assert [sample.timestep for sample in rows.values()] == [view // n for view in range(8)]
    assert len({sample.camera_id for sample in rows.values()}) == n
    prepared = make_generator(config).subject(0)
    assert all(
        _same(sample, _measured(config, synthesize_view(config, prepared, v))) for (_, v), sample in rows.items()
    )


@pytest.mark.parametrize("appearance", ["basic", "rich"])
def test_ground_truth_projects_onto_a_turned_head(appearance: str) -> None:
    config = dataclasses.replace(CONFIG, motion="sequence", image_size=96, head_turn_max_deg=40.0, frame_rate_hz=2.0)
    config = dataclasses.replace(config, appearance=appearance)
    head, prepared = builtin_head(), make_generator(config).subject(1)
    for view in (1, 3):
        sample = synthesize_view(config, prepared, view)
        batched = HeadParams(sample.params.model_id, **{k: v[None] for k, v in sample.params.tensors().items()})
        xy, _ = project(sample.camera, landmarks(head, pose_head(head, batched))[0])
        eyes = [xy[36:42].mean(0), xy[42:48].mean(0)]
        around = [sample.image[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5].min() for x, y in eyes]
        assert sample.params.rotation.norm() > 0.1
        assert max(around) < 110, "the pupils are where the parameters put the eyes"


def test_what_is_behind_a_turning_head_stays() -> None:
    config = dataclasses.replace(
        CONFIG,
        motion="sequence",
        appearance="rich",
        background="surroundings",
        head_turn_max_deg=40.0,
        frame_rate_hz=1.0,
    )
    prepared = make_generator(config).subject(1)
    first, second = (synthesize_view(config, prepared, view) for view in (0, 1))
    empty = (first.mask == 0) & (second.mask == 0)
    assert not torch.allclose(first.params.rotation, second.params.rotation, atol=0.05)
    assert empty.mean() > 0.3 and np.array_equal(first.image[empty], second.image[empty])


def test_a_detector_that_disagrees_rejects_near_frontal_views(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, views_per_subject=6)
    synthesize_shard(config, [0], tmp_path / "a", detector=lambda image: [])
    rejects = read_rejects(tmp_path / "a" / "rejects.parquet")
    kept = _rows([tmp_path / "a"])
    assert {r.gate for r in rejects} == {"detector"} and {r.value for r in rejects} == {None}
    assert {r.item for r in rejects} >= {f"000000/{view}" for view in range(4)}
    assert len(kept) + len(rejects) == 6
    for sample in kept.values():
        assert abs(sample.yaw_deg) > 15 or abs(sample.pitch_deg) > 15


def test_assembled_dataset(shards: list[Path], tmp_path: Path) -> None:
    assemble_dataset(CONFIG, shards, tmp_path)
    dataset = Dataset(tmp_path)
    assert dataset.subject_ids() == ["000000", "000001", "000002"]
    assert dataset.image_size == 48
    assert head_digest(load_head(dataset.head)) == head_digest(builtin_head())
    assert _same(dataset.sample("000002", 1), _rows(shards)["000002", 1])
    assert read_rejects(tmp_path / "rejects.parquet") == []


def test_the_pass_over_all_people_leaves_the_shards_alone(shards: list[Path], tmp_path: Path) -> None:
    strict = dataclasses.replace(CONFIG, duplicate_distance=10.0)
    assemble_dataset(CONFIG, shards, tmp_path / "a")
    assemble_dataset(strict, shards, tmp_path / "b")
    assemble_dataset(dataclasses.replace(strict, n_subjects=2), shards[:1], tmp_path / "first")
    assert read_marks(tmp_path / "a" / MARKS_FILE) == []
    marks = read_marks(tmp_path / "b" / MARKS_FILE)
    assert [mark.subject_id for mark in marks] == ["000001", "000002"]
    assert read_marks(tmp_path / "first" / MARKS_FILE) == marks[:1]
    for part in ("part-00000.parquet", "part-00001.parquet"):
        assert (tmp_path / "a/shards" / part).read_bytes() == (tmp_path / "b/shards" / part).read_bytes()
    assert Dataset(tmp_path / "b", skip_marked=True).subject_ids() == ["000000"]


def test_coverage_counts_every_view(shards: list[Path], tmp_path: Path) -> None:
    assemble_dataset(CONFIG, shards, tmp_path)
    cells = read_coverage(tmp_path / "coverage.parquet")
    views = Dataset(tmp_path).parameters()
    assert sum(cell.n_views for cell in cells) == len(views) == 9
    directions = {(cell.yaw_deg, cell.pitch_deg) for cell in cells}
    assert directions == {(bin_of(y), bin_of(p)) for y, p in zip(views.yaw_deg, views.pitch_deg, strict=True)}
    people = read_identities(tmp_path / "identities.parquet")
    assert [one.subject_id for one in people] == ["000000", "000001", "000002"]
    assert {cell.cluster for cell in cells} == {one.cluster for one in people}


def test_assembling_is_deterministic(shards: list[Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        assemble_dataset(CONFIG, shards, tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) == 8
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_a_view_that_fails_a_gate_is_recorded(tmp_path: Path) -> None:
    close = dataclasses.replace(CONFIG, distance_m=0.45, views_per_subject=1)
    synthesize_shard(close, [0, 1], tmp_path)
    assert read_shard_samples(tmp_path / "part.parquet") == []
    rejects = read_rejects(tmp_path / "rejects.parquet")
    assert [r.item for r in rejects] == ["000000/0", "000001/0"]
    assert all(r.gate in ("cut_off", "mask_area") and r.reason for r in rejects)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_subjects", -1), ("generator", "gan"), ("image_size", 4), ("yaw_max_deg", 200.0), ("pitch_min_deg", 60.0),
     ("background", "forest"), ("glasses", True), ("heldout_every", 0), ("long_hair_share", 2.0),
     ("sampler", "spiral"), ("motion", "dance"),
     ("frame_rate_hz", 0.0), ("sequence_cameras", 0), ("rig_deviation", 0.5), ("gate_detector", "eyes"),
     ("gate_min_landmarks", 69), ("gate_min_area", -0.1), ("n_subjects", 10**8), ("views_per_subject", 10**5),
     ("target_height_m", float("nan")), ("fov_deg", float("inf")), ("generator_device", "tpu")],
)  # fmt: skip
def test_bad_settings_are_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        SynthesizeConfig(**{name: value})  # type: ignore[arg-type]
    assert caught.value.key == f"synthesize.{name}"
    assert repr(value) in caught.value.message
