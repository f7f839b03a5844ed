"""Whether a schedule really fires here: with a wrong SQLAlchemy the server starts and runs nothing, in silence."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from prefect import flow
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType

from flows.services.access import Access, new_token
from flows.services.processes import end_processes, family
from flows.services.server_process import api_address, free_port, start_server, stop_server, wait_until_up

INTERVAL_S = 4
POLL_S = 0.5
STOP_TIMEOUT_S = 3.0
QUICK = {
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
    "PREFECT_RUNNER_POLL_FREQUENCY": "1",
}


@flow(name="tick", persist_result=False)
def tick() -> None:
    """Do nothing: the check is that it ran."""


def schedule_fires(timeout_s: float) -> float | None:
    """Start a server and a schedule of a few seconds; the seconds until a scheduled run ended well, or None."""
    with tempfile.TemporaryDirectory(prefix="headforge-") as folder:
        database = Path(folder) / "prefect.db"
        access = Access(api_address(port := free_port()), new_token())
        server = start_server(database, port, access.token, os.getpid(), extra=QUICK)
        runner = None
        try:
            wait_until_up(access.url, database.with_suffix(".log"), server)
            start = time.monotonic()
            environment = access.environment(os.environ) | QUICK
            runner = subprocess.Popen(
                [sys.executable, "-m", "flows.upkeep.health.schedule_check"], env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            return _wait_for_run(access, start, timeout_s)
        finally:
            if runner is not None:
                # A runner that is asked to end may leave the processes of its runs behind.
                end_processes(family(psutil.Process(runner.pid)), STOP_TIMEOUT_S)
                runner.wait()
            stop_server(server)


def _wait_for_run(access: Access, start: float, timeout_s: float) -> float | None:
    ended = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED])))
    with access.client() as client:
        while time.monotonic() - start < timeout_s:
            if any(run.auto_scheduled for run in client.read_flow_runs(flow_run_filter=ended)):
                return time.monotonic() - start
            time.sleep(POLL_S)
    return None


if __name__ == "__main__":
    from flows.upkeep.health.schedule_check import (
        tick as importable,  # under its own name, which the process of a run imports
    )

    importable.serve(name="tick", interval=INTERVAL_S, limit=1, print_starting_message=False)
