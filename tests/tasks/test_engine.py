from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from headforge.errors import ConfigError, HeadforgeError
from headforge.progress import SilentProgress
from tasks.engine import AbortedError, CrashedError, Engine, EngineConfig
from tests.tasks import jobs


class Heard(SilentProgress):
    def __init__(self) -> None:
        self.items: list[str] = []

    def item_done(self, item: str, n: int = 1) -> None:
        self.items.append(item)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def engine(heard: Heard) -> Iterator[Engine]:
    with Engine(1, heard) as running:
        yield running


def test_workers_have_one_thread_each(engine: Engine) -> None:
    assert engine.run(jobs.threads) == (1, "1")
    assert engine.run(jobs.process_id) != os.getpid()


def test_reports_arrive(engine: Engine, heard: Heard, tmp_path: Path) -> None:
    engine.run(jobs.write_text, "a", tmp_path)
    engine.__exit__(None, None, None)
    assert heard.items == ["a"]


def test_deliberate_error_keeps_message_and_help(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(HeadforgeError) as caught:
        engine.run(jobs.refuse, tmp_path)
    assert str(caught.value) == "x can't be used.\nhelp: use y."


def test_pool_is_made_again_after_a_worker_died(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(CrashedError):
        engine.run(jobs.die, tmp_path)
    assert engine.run(jobs.threads)[0] == 1


def test_nothing_runs_after_abort(engine: Engine) -> None:
    engine.run(jobs.process_id)
    engine.abort()
    with pytest.raises(AbortedError):
        engine.run(jobs.process_id)


@pytest.mark.parametrize("name", ["workers", "retries"])
def test_negative_settings_are_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        EngineConfig(**{name: -1})
