"""The server that stays, the records it keeps of runs that were killed, and a schedule that really fires."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow, states, task
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType

from flows.project.project import BusyError
from flows.services.access import Access
from flows.services.processes import find_process, process_name
from flows.services.reap import DRIVER_VARIABLE, TAG, process_tag, reap
from flows.services.server import Running, access_to, prefect_server
from flows.services.up import down, read_state, up
from flows.upkeep.health.schedule_check import schedule_fires

SCHEDULE_TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a server that is up, which takes some seconds."""
    home = tmp_path_factory.mktemp("up")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADFORGE_HOME", str(home))
        patch.delenv("PREFECT_API_URL", raising=False)
        up(None)
        yield home
        patch.setenv("HEADFORGE_HOME", str(home))
        down(0, now=True)


@pytest.fixture
def access(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> Access:
    monkeypatch.setenv("HEADFORGE_HOME", str(shared_home))
    return access_to(Running(read_state().url, stays=True))


@pytest.fixture
def dead() -> str:
    """The name of a process that was killed."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    name = process_name(process.pid)
    process.kill()
    process.wait()
    return name


@flow(name="stuck")
def stuck() -> None: ...


@task
def shard() -> None: ...


def running_run(client: SyncPrefectClient, *tags: str) -> UUID:
    run = client.create_flow_run(stuck, tags=list(tags), state=states.Running())
    client.create_task_run(shard, run.id, "0", state=states.Running())
    return run.id


def test_up_again_changes_nothing_and_stages_use_it(access: Access) -> None:
    state = read_state()
    assert up(None) == (state, access, False)
    with prefect_server() as used:
        assert used == access
    assert find_process(state.server) is not None


def test_reap_marks_the_dead_and_spares_the_living(access: Access, dead: str) -> None:
    with access.client() as client:
        killed = running_run(client, TAG + dead)
        alive = running_run(client, process_tag())
        elsewhere = running_run(client, f"{TAG}another-host:{os.getpid()}:0")
        foreign = running_run(client)
        done = reap()
        assert (len(done.runs), done.n_task_runs, len(done.unknown)) == (1, 1, 2)
        states = {run: client.read_flow_run(run).state_type for run in (killed, alive, elsewhere, foreign)}
        assert states.pop(killed) == StateType.CRASHED
        assert set(states.values()) == {StateType.RUNNING}
        with pytest.raises(BusyError, match=client.read_flow_run(alive).name):
            down(0.0)
        assert find_process(read_state().server) is not None
        for run in states:
            client.delete_flow_run(run)


def test_reap_ends_workers_without_a_driver_only(access: Access, dead: str) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    orphan = subprocess.Popen(sleep, env=dict(os.environ) | {DRIVER_VARIABLE: dead})
    worker = subprocess.Popen(sleep, env=dict(os.environ) | {DRIVER_VARIABLE: process_name()})
    try:
        deadline = time.monotonic() + 10
        while not reap().n_processes and time.monotonic() < deadline:  # its environment shows once it runs
            time.sleep(0.1)
        assert orphan.wait(10) is not None
        assert worker.poll() is None
    finally:
        for process in (orphan, worker):
            process.kill()
            process.wait()


def test_process_number_that_was_given_again_is_another_process() -> None:
    host, pid, start = process_name().rsplit(":", 2)
    assert find_process(f"{host}:{pid}:{start}") is not None
    assert find_process(f"{host}:{pid}:{int(start) - 60}") is None


@pytest.mark.slow
@pytest.mark.timeout(SCHEDULE_TIMEOUT_S + 60)
def test_a_schedule_really_fires() -> None:
    # Guards the pins: with SQLAlchemy 2.1 the server of Prefect 3.8.8 answers, and no schedule ever fires.
    assert schedule_fires(SCHEDULE_TIMEOUT_S) is not None
