from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headforge.errors import ConfigError, HeadforgeError
from headforge.progress import SilentProgress
from tasks.engines.engine import AbortedError, CrashedError, Engine, EngineConfig, EngineError
from tasks.engines.process_engine import ProcessEngine
from tests.tasks import jobs


class Heard(SilentProgress):
    def __init__(self) -> None:
        self.items: list[str] = []

    def item_done(self, item: str, n: int = 1) -> None:
        self.items.append(item)


@pytest.fixture
def engine() -> Iterator[ProcessEngine]:
    with ProcessEngine(1) as running:
        yield running


def test_workers_have_one_thread_each(engine: Engine) -> None:
    assert engine.run(jobs.threads) == (1, "1")
    assert engine.run(jobs.process_id) != os.getpid()


def test_reports_arrive_before_the_answer(engine: Engine, tmp_path: Path) -> None:
    heard = Heard()
    engine.run(jobs.write_text, "a", tmp_path, progress=heard)
    assert heard.items == ["a"]


def test_deliberate_error_keeps_message_and_help(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(HeadforgeError) as caught:
        engine.run(jobs.refuse, tmp_path)
    assert str(caught.value) == "x can't be used.\nhelp: use y."


def test_unforeseen_error_brings_its_trace_back(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(CrashedError, match="the first try fails") as caught:
        engine.run(jobs.crash_once, tmp_path / "marker", tmp_path)
    assert "crash_once" in caught.value.details


def test_process_is_started_again_after_it_died(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(CrashedError, match="exit code 9"):
        engine.run(jobs.die, tmp_path)
    assert engine.run(jobs.echo, "again") == "again"


def test_dead_process_takes_no_other_with_it(tmp_path: Path) -> None:
    with ProcessEngine(2) as engine, ThreadPoolExecutor(1) as pool:
        other = pool.submit(engine.run, jobs.wait_for, tmp_path / "go", tmp_path)
        while not (tmp_path / "waiting").exists():
            time.sleep(0.01)
        with pytest.raises(CrashedError):
            engine.run(jobs.die, tmp_path)
        (tmp_path / "go").touch()
        assert other.result() == "went"


def test_report_that_can_not_be_taken_spoils_no_other_answer(engine: Engine, tmp_path: Path) -> None:
    class Deaf(SilentProgress):
        def item_done(self, item: str, n: int = 1) -> None:
            raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="terminal"):
        engine.run(jobs.write_text, "a", tmp_path, progress=Deaf())
    assert engine.run(jobs.echo, "b") == "b"


def test_nothing_runs_after_abort(engine: Engine) -> None:
    engine.run(jobs.process_id)
    engine.abort()
    with pytest.raises(AbortedError):
        engine.run(jobs.process_id)


def test_abort_ends_what_runs(engine: Engine, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(engine.run, jobs.wait_for, tmp_path / "never", tmp_path)
        while not (tmp_path / "waiting").exists():
            time.sleep(0.01)
        engine.abort()
        with pytest.raises(AbortedError):
            running.result()


def test_cards_go_to_the_items_that_need_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with ProcessEngine(2, n_gpus=1) as engine:
        assert engine.run(jobs.card, needs_gpu=True) == "3"
        assert engine.run(jobs.card) == ""


def test_item_that_needs_a_card_where_there_is_none(engine: Engine) -> None:
    with pytest.raises(EngineError, match="needs a GPU"):
        engine.run(jobs.card, needs_gpu=True)


@pytest.mark.parametrize(
    "settings",
    [
        {"workers": -1},
        {"retries": -1},
        {"profile": "ray"},
        {"profile": "dask"},
        {"profile": "local", "scheduler_address": "tcp://127.0.0.1:1"},
        {"profile": "slurm"},
        {"profile": "slurm", "workers": 2, "slurm_walltime": "soon"},
        {"profile": "slurm", "workers": 2, "gpus": 1},
        {"workers": 1, "gpus": 2},
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        EngineConfig(**settings)
