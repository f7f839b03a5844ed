"""`headforge up` and `headforge down`: a Prefect server that stays, and the worker that runs what is scheduled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort

from flows.project.project import BusyError, ProjectError, home, machine_lock
from flows.services.access import API_VARIABLE, Access, AccessError, new_token, write_token
from flows.services.prefect_database import prepared_database
from flows.services.processes import end_processes, family, find_process, process_name
from flows.services.reap import living_runs, pool_exists, reap_runs
from flows.services.server import (
    Running,
    access_to,
    database,
    database_lock,
    note_running,
    running_server,
    token_file,
)
from flows.services.server_process import (
    NO_PARENT,
    START_TIMEOUT_S,
    ServerError,
    api_address,
    free_port,
    start_server,
    stop_server,
    wait_until_up,
)
from headforge.store.files import sha256_file, write_json

PORT = 4200
"""Prefect's usual one; another if it is taken."""
POOL = "headforge"
"""The work pool in prefect.yaml."""
DEPLOYMENTS = "prefect.yaml"
POLL_S = 0.5
QUERY_S = 5
"""Between the worker's questions whether a run is due."""


@dataclass(frozen=True)
class State:
    """What `up` started on this machine."""

    server: str
    """Its `process_name`."""
    url: str
    """Its API address."""
    worker: str = ""
    """The `process_name` of the worker; empty without a schedule."""
    project: str = ""
    """The project whose prefect.yaml the worker follows."""
    deployed: str = ""
    """SHA-256 of that prefect.yaml as it was put into force."""

    @property
    def page(self) -> str:
        """The page for people."""
        return self.url.removesuffix("/api")


def up(root: Path | None) -> tuple[State, Access, bool]:
    """Start what does not run yet, and wait until it answers; also says whether anything was started.

    With a project the schedules of its prefect.yaml are put into force and a worker runs what is due.
    """
    if API_VARIABLE in os.environ:
        raise ServerError(
            f"{API_VARIABLE} names a server already: {os.environ[API_VARIABLE]}.",
            f"use that one, or unset {API_VARIABLE}.",
        )
    with machine_lock("up"):
        before = read_state()
        state, access = _with_server(before)
        if root is not None:
            state = _with_worker(state, access, root)
        if state != before:
            write_json(_path(), asdict(state))
        return state, access, state != before


def down(wait_s: float, *, now: bool = False) -> list[str]:
    """Stop what `up` started, after the runs in progress; returns what was stopped.

    Raises BusyError if runs go on after `wait_s` seconds, unless they are to be interrupted `now`.
    """
    with machine_lock("up"):
        state = read_state()
        server, worker = find_process(state.server), find_process(state.worker)
        access = None if server is None else _way_in(state, now=now)
        if access is not None and not now:
            _wait_for_runs(access, wait_s)
        stopped = []
        if worker is not None:
            end_processes(family(worker))
            stopped.append("worker")
        if server is not None:
            if access is not None:
                reap_runs(access)
            end_processes([server])
            stopped.append("server")
            token_file().unlink(missing_ok=True)
        _path().unlink(missing_ok=True)
        return stopped


def read_state() -> State:
    """Read the state that `up` wrote; its processes may be dead."""
    try:
        return State(**json.loads(_path().read_text()))
    except (OSError, ValueError, TypeError):
        return State("", "")


def _path() -> Path:
    return home() / "prefect" / "up.json"


def _way_in(state: State, *, now: bool) -> Access | None:
    """Return the access to the server; None if its token is lost and the server is to end `now`, whatever runs."""
    try:
        return access_to(Running(state.url, stays=True))
    except AccessError:
        if not now:
            raise
        return None


def _with_server(state: State) -> tuple[State, Access]:
    with database_lock() as lock:
        if lock is not None:
            if (worker := find_process(state.worker)) is not None:
                end_processes(family(worker))  # it has the token of a server that is gone
            name, access = _started(lock)
            return replace(state, server=name, url=access.url, worker=""), access
    running = running_server()
    if running is None or not running.stays:
        raise BusyError(
            "a run in progress has a Prefect server of its own, which uses the database.",
            "call 'headforge up' again when that run has ended; those that follow will use the server that stays.",
        )
    wait_until_up(running.url, database().with_suffix(".log"))
    return replace(state, url=running.url), access_to(running)


def _started(lock: IO[str]) -> tuple[str, Access]:
    port = free_port(PORT)
    access = Access(api_address(port), new_token())
    write_token(token_file(), access.token)
    process = start_server(prepared_database(database()), port, access.token, NO_PARENT, lock.fileno())
    try:
        wait_until_up(access.url, database().with_suffix(".log"), process)
    except BaseException:
        stop_server(process)
        raise
    note_running(lock, Running(access.url, stays=True))
    return process_name(process.pid), access


def _with_worker(state: State, access: Access, root: Path) -> State:
    if not (root / DEPLOYMENTS).is_file():
        raise ProjectError(f"{root} has no {DEPLOYMENTS}, which says what is scheduled.", f"git checkout {DEPLOYMENTS}")
    worker = find_process(state.worker)
    if worker is not None and state.project != str(root):
        end_processes(family(worker))
        worker = None
    if worker is None:
        state = replace(state, worker=_start_worker(access, root), project=str(root), deployed="")
    digest = sha256_file(root / DEPLOYMENTS)
    if digest != state.deployed:
        _deploy(access, root)
    return replace(state, deployed=digest)


def _start_worker(access: Access, root: Path) -> str:
    command = ["-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--limit", "1"]
    log = home() / "prefect" / "worker.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=root, env=_environment(access), stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_for_worker(access, process, log)
    except BaseException:
        stop_server(process)
        raise
    return process_name(process.pid)


def _wait_for_worker(access: Access, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if pool_exists(access, POOL):
            return
        time.sleep(POLL_S)
    said = log.read_text(errors="replace").strip().splitlines()
    raise ServerError(f"the worker did not start: {said[-1] if said else 'it said nothing'}.", f"look at {log}.")


def _deploy(access: Access, root: Path) -> None:
    """Apply prefect.yaml, as `prefect deploy --all` does in the project."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=root, env=_environment(access), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ServerError(
            f"Prefect refuses {root / DEPLOYMENTS}: {said[-1] if said else 'it said nothing'}", "mend that file."
        )


def _environment(access: Access) -> dict[str, str]:
    return access.environment(os.environ) | {"PREFECT_WORKER_QUERY_SECONDS": str(QUERY_S)}


def _wait_for_runs(access: Access, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while runs := living_runs(access):
        if time.monotonic() > deadline:
            raise BusyError(
                f"{len(runs)} runs are in progress on the server: {', '.join(runs)}.",
                "wait for them to end (--wait SECONDS), or interrupt them with --now: finished work is kept.",
            )
        time.sleep(POLL_S)


def next_runs(access: Access) -> dict[str, str]:
    """Return the next run of each scheduled deployment, in local time."""
    with access.client() as client:
        names = {deployment.id: deployment.name for deployment in client.read_deployments()}
        wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])))
        found: dict[str, str] = {}
        for run in client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_ASC):
            if run.deployment_id is not None and run.expected_start_time is not None:
                when = run.expected_start_time.astimezone().isoformat(sep=" ", timespec="minutes")
                found.setdefault(names.get(run.deployment_id, run.name), when)
        return found
