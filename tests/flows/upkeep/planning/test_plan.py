"""The model behind `headforge plan`, and that measuring a shard leaves the same shard."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from flows.upkeep.planning.measure import missing_shards, timed_shards
from flows.upkeep.planning.plan import Clock, measured_of, plan
from flows.upkeep.planning.prediction import N_COPIES, Measured, makespan, predict
from headforge.errors import ConfigError
from headforge.progress import SILENT
from headforge.store.objects.store import Store
from headforge.synth.config import SynthesizeConfig
from tasks.synthesize import shard_item
from tasks.timing import read_times

CONFIG = SynthesizeConfig(n_subjects=4, views_per_subject=2, image_size=16, subjects_per_shard=2)
MEASURED = Measured(
    driver_s=8.0,
    stage_s=4.0,
    worker_s=2.0,
    warm_s=1.0,
    subject_s=(0.9, 1.0, 1.1),
    subject_cpu_s=1.0,
    shard_cpu_s=0.2,
    fixed_cpu_s=12.0,
    between_s=0.1,
    assemble_s=(0.5, 0.01),
    subject_bytes=1e6,
    commit_bytes_per_s=1e8,
    n_workers=2,
    has_reflinks=False,
)


def test_prediction_is_start_up_plus_work_in_turns_plus_publishing() -> None:
    found = predict(MEASURED, n_subjects=25, subjects_per_shard=10, n_workers=2)
    start_up = 8 + 4 + 2 + 1 + 0.5
    work = (10 + 0.1) + (5 + 0.1)  # two shards of 10 side by side, then the last one of 5
    assert found.n_shards == 3
    assert found.start_up_s == pytest.approx(start_up)
    assert found.wall_s == pytest.approx(start_up + work + 25 * 0.01 + 25e6 / 1e8)
    assert found.wall_s_low < found.wall_s < found.wall_s_high
    assert found.wall_s_high >= 1.1 * found.wall_s
    assert found.cpu_hours == pytest.approx((25 + 3 * 0.2 + 12) / 3600)
    assert found.disk_bytes == N_COPIES * found.store_bytes == N_COPIES * 25_000_000


def test_start_up_does_not_grow_and_more_workers_help_up_to_the_shards() -> None:
    small, large = (predict(MEASURED, n, 10, 4) for n in (40, 400))
    assert small.start_up_s == large.start_up_s
    assert large.wall_s - large.start_up_s == pytest.approx(10 * (small.wall_s - small.start_up_s))
    assert predict(MEASURED, 40, 10, 4).wall_s == predict(MEASURED, 40, 10, 400).wall_s


def test_limits_grow_with_the_work_in_a_shard() -> None:
    found = predict(MEASURED, 1000, 30, 4)
    assert (found.server_limit_workers, found.driver_limit_workers) == (2100, 230)
    shared = predict(dataclasses.replace(MEASURED, has_reflinks=True), 1000, 30, 4)
    assert shared.disk_bytes == shared.store_bytes


def test_makespan_of_uneven_items() -> None:
    assert makespan([3, 1, 1, 1], 2) == 3
    assert makespan([1, 1, 1, 3], 2) == 4
    assert makespan([], 2) == 0


def test_measuring_leaves_the_shard_that_a_run_would_make(tmp_path: Path) -> None:
    (tmp_path / "times").mkdir()
    plain, timed = tmp_path / "plain", tmp_path / "timed"
    for folder, item in (
        (plain, shard_item(CONFIG, range(2))),
        (timed, timed_shards(CONFIG, [range(2)], tmp_path / "times")[0]),
    ):
        folder.mkdir()
        item.function(*item.args, folder, SILENT)
    assert {path.name: path.read_bytes() for path in timed.iterdir()} == {
        path.name: path.read_bytes() for path in plain.iterdir()
    }
    (taken,) = read_times(tmp_path / "times")
    assert taken.work_s > 0 and taken.cpu_s > 0 and taken.end_s >= taken.begin_s + taken.warm_s


def test_shards_to_measure_are_those_the_store_lacks(tmp_path: Path) -> None:
    store = Store(tmp_path)
    item = shard_item(CONFIG, range(2))
    store.build(item.recipe, lambda folder: (folder / "file").touch())
    assert missing_shards(CONFIG, store, 3) == [range(2, 4), range(4, 6), range(6, 8)]


def test_numbers_of_the_model_come_from_the_right_clocks() -> None:
    times = [
        {"process": 1, "begin_s": 12.0, "warm_s": 1.0, "work_s": 4.0, "cpu_s": 3.0, "end_s": 17.0},
        {"process": 2, "begin_s": 12.5, "warm_s": 1.5, "work_s": 4.0, "cpu_s": 3.0, "end_s": 18.0},
        {"process": 1, "begin_s": 17.2, "warm_s": 0.0, "work_s": 2.0, "cpu_s": 2.0, "end_s": 19.2},
    ]
    found = {
        "created_s": 5.0, "begin_s": 9.0, "handed_out_s": 10.0, "build_cpu_s": 0.6, "assemble_one_s": 1.0,
        "assemble_all_s": 1.4, "items": times, "n_subjects": [2, 2, 2], "n_bytes": 600, "end_s": 20.0,
    }  # fmt: skip
    measured = measured_of(found, Clock(7.0, 0.5, 30.0, 1e6), 2, has_reflinks=False)
    assert measured.stage_s == pytest.approx(4.5)
    assert measured.worker_s == pytest.approx(2.0)
    assert measured.warm_s == 1.5
    assert measured.between_s == pytest.approx(0.2)
    assert measured.subject_s == (2.0, 2.0, 1.0)
    assert (measured.subject_cpu_s, measured.shard_cpu_s) == (pytest.approx(8 / 6), pytest.approx(0.2))
    assert measured.fixed_cpu_s == pytest.approx(21.4)
    assert measured.assemble_s == (pytest.approx(0.8), pytest.approx(0.1))
    assert measured.subject_bytes == 100


def test_plan_refuses_numbers_below_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--workers is 0"):
        plan(tmp_path, (), 10, 0, 3)
