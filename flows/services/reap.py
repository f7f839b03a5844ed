"""`headforge reap`: mark runs of killed processes as crashed, and end workers without a driver.

A server does not notice that a process was killed: its runs would stay "Running". So each run of a stage carries the
name of its process as a tag; a scheduled run has its process id from the worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType, TaskRun
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from flows.services.access import Access
from flows.services.processes import end_processes, find_process, is_here, process_name
from flows.services.server import records_server

DRIVER_VARIABLE = "HEADFORGE_DRIVER"
"""In the environment of a stage's workers: the `process_name` of the stage, without which they have nothing to do."""
TAG = "process "
UNFINISHED = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
RUN_ID_VARIABLE = "PREFECT__FLOW_RUN_ID"
PAGE = 200
MESSAGE = "The process of this run was killed."


@dataclass(frozen=True)
class Reaped:
    """What was put right."""

    runs: list[str]
    """Flow runs that are Crashed now."""
    n_task_runs: int
    """Task runs of theirs that are, too."""
    n_records: int
    """Runs in MLflow that are KILLED now."""
    n_processes: int
    """Workers without a driver that were ended."""
    unknown: list[str]
    """Unfinished runs of other hosts or other programs, left alone."""


def process_tag() -> str:
    """Return the tag of this process's runs."""
    return TAG + process_name()


def reap() -> Reaped:
    """Put the records of the machine's server right and end orphaned workers; what lives is left alone."""
    from flows.services.records import end_dead_records  # MLflow comes with it, which `headforge up` can do without

    orphans = [process for process in psutil.process_iter() if _is_orphan(process)]
    end_processes(orphans)
    with records_server() as server:
        runs, n_task_runs, unknown = reap_runs(server)
    return Reaped(runs, n_task_runs, end_dead_records(), len(orphans), unknown)


def reap_runs(server: Access) -> tuple[list[str], int, list[str]]:
    """Set the runs of dead processes Crashed; their names, how many task runs they had, and the runs left alone."""
    crashed, n_task_runs, unknown = [], 0, []
    with server.client() as client:
        for run in list(_unfinished(client)):
            alive = _is_alive(run)
            if alive is None:
                unknown.append(run.name)
            if alive is not False:
                continue
            n_task_runs += _crash_tasks(client, run)
            client.set_flow_run_state(run.id, Crashed(message=MESSAGE), force=True)
            crashed.append(run.name)
    return crashed, n_task_runs, unknown


def living_runs(server: Access) -> list[str]:
    """Names of the runs in progress whose process lives."""
    with server.client() as client:
        return [run.name for run in _unfinished(client) if _is_alive(run)]


def pool_exists(server: Access, name: str) -> bool:
    """Return whether the server has a work pool of this name."""
    with server.client() as client:
        try:
            client.read_work_pool(name)
        except ObjectNotFound:
            return False
        return True


def _unfinished(client: SyncPrefectClient) -> Iterator[FlowRun]:
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED)))
    offset = 0
    while page := client.read_flow_runs(flow_run_filter=wanted, limit=PAGE, offset=offset):
        yield from page
        offset += PAGE


def _is_alive(run: FlowRun) -> bool | None:
    """Return whether a process lives; None if this host can't know."""
    name = next((tag.removeprefix(TAG) for tag in run.tags if tag.startswith(TAG)), None)
    if name is not None:
        return find_process(name) is not None if is_here(name) else None
    if not (run.infrastructure_pid or "").isdigit():
        return None
    try:
        environment = psutil.Process(int(run.infrastructure_pid or 0)).environ()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return None
    return environment.get(RUN_ID_VARIABLE) == str(run.id)


def _crash_tasks(client: SyncPrefectClient, run: FlowRun) -> int:
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    wanted = TaskRunFilter(
        state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[*UNFINISHED, StateType.SCHEDULED]))
    )
    tasks: list[TaskRun] = []
    while page := client.read_task_runs(flow_run_filter=of_run, task_run_filter=wanted, limit=PAGE, offset=len(tasks)):
        tasks += page
    for task in tasks:
        client.set_task_run_state(task.id, Crashed(message=MESSAGE), force=True)
    return len(tasks)


def _is_orphan(process: psutil.Process) -> bool:
    try:
        driver = process.environ().get(DRIVER_VARIABLE, "")
    except (psutil.Error, OSError):
        return False
    return bool(driver) and is_here(driver) and find_process(driver) is None
