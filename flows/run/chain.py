"""The chain of stages as one Prefect flow: each task runs one stage through DVC."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import tags, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Completed

from flows.project.params import load_settings
from flows.project.project import OUTCOME_VARIABLE, PARENT_RUN_VARIABLE
from flows.run.flow_record import run_as_flow
from flows.run.outcome import EXIT_INPUT, EXIT_INTERRUPTED, Outcome, read_outcome
from flows.run.summary import Summary
from flows.services.databases import to_stderr
from flows.services.dvc_calls import reproduce, why_not_reproduced
from flows.services.reap import process_tag
from flows.services.records import RunRecord
from flows.services.server import prefect_server
from headforge.errors import HeadforgeError

RAN, UNCHANGED = "ran", "unchanged"


class StageFailedError(Exception):
    """A stage did not end well; what follows it was not started."""

    def __init__(self, stage: str, outcome: Outcome) -> None:
        super().__init__(f"{stage}: {outcome.message.splitlines()[0] if outcome.message else 'failed'}")
        self.stage = stage
        self.outcome = outcome


def run_chain(root: Path, stages: Sequence[str]) -> Summary:
    """Bring the stages up to date in order; stops at the first that fails."""
    load_settings(root)
    summary = Summary()
    with (
        prefect_server(),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
        tags(process_tag()),
        RunRecord("run", root, {"stages": " ".join(stages)}) as record,
    ):
        failure = _chain(root, stages, record, summary)
        record.outputs(root, stages)
        if failure is None:
            record.succeed()
    if failure is not None:
        summary.status, summary.exit_code, summary.message = (
            "failed",
            failure.outcome.exit_code,
            failure.outcome.message,
        )
        if summary.exit_code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
    return summary


def _chain(root: Path, stages: Sequence[str], record: RunRecord, summary: Summary) -> StageFailedError | None:
    def headforge_run() -> StageFailedError | None:
        record.tag("prefect.flow_run_id", str(flow_run.id))
        for name in stages:
            try:
                run_one = _stage.with_options(name=name, task_run_name=name)
                done: Any = run_one.submit(root, name, record).result()
                summary.stages[name] = done
            except StageFailedError as failure:
                return failure
        return None

    return run_as_flow("headforge run", headforge_run, to_stderr)


@task(cache_policy=NO_CACHE, persist_result=False)
def _stage(root: Path, name: str, record: RunRecord) -> State[str] | str:
    with tempfile.TemporaryDirectory(prefix="headforge-") as folder:
        path = Path(folder) / "outcome.json"
        exit_code = reproduce(root, name, {OUTCOME_VARIABLE: str(path), PARENT_RUN_VARIABLE: record.run_id})
        outcome = read_outcome(path)
    if outcome is not None and outcome.exit_code:
        raise StageFailedError(name, outcome)
    if exit_code:
        raise StageFailedError(name, Outcome(EXIT_INPUT, _explained(name, why_not_reproduced(root, name))))
    if outcome is None:
        return Completed(name="Cached", data=UNCHANGED)
    if outcome.run_id:
        record.outputs(root, (name,), outcome.run_id)
    elif outcome.n_hits == outcome.n_items:
        return Completed(name="Cached", data=RAN)
    return RAN


def _explained(name: str, reason: str) -> str:
    error = HeadforgeError(
        f"the stage {name} did not run: {reason or 'DVC gave no reason'}",
        "run 'headforge run', which makes what a stage needs first; 'dvc repro -v' tells more.",
    )
    return str(error)
