"""MLflow: what a run was, how good it is, and where it came from. Nothing here decides whether anything runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from flows.project.project import home, machine_lock
from flows.project.provenance import git_state
from flows.services.processes import find_process, is_here, process_name

EXPERIMENT = "headforge"
MODEL_PREFIX = "headforge-"
"""Before the name of a registered model."""
MODEL_ALIAS = "newest"
PROCESS_TAG = "process"
MAX_VALUE_LENGTH = 500
BATCH = 100
"""Entries MLflow takes in one call of each kind."""


def connect() -> tuple[MlflowClient, str]:
    """A client of the machine's database and the id of the project's experiment.

    The first call makes the database; two at once would both fail half-way, so that part is under a lock.
    """
    folder = home() / "mlflow"
    with machine_lock("mlflow"):
        folder.mkdir(exist_ok=True)
        client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return client, found.experiment_id
        return client, client.create_experiment(EXPERIMENT, artifact_location=(folder / "artifacts").as_uri())


def end_dead_records() -> int:
    """Mark the runs as KILLED whose process of this host was killed; returns how many."""
    client, experiment = connect()
    dead = [
        run.info.run_id
        for run in client.search_runs([experiment], "attributes.status = 'RUNNING'")
        if is_here(name := run.data.tags.get(PROCESS_TAG, "")) and find_process(name) is None
    ]
    for run_id in dead:
        client.set_terminated(run_id, "KILLED")
    return len(dead)


class RunRecord:
    """One MLflow run. A context manager: ends the run as failed if its block raises."""

    def __init__(self, name: str, root: Path, params: Mapping[str, object], parent: str = "") -> None:
        self._client, experiment = connect()
        tags = {MLFLOW_RUN_NAME: name, PROCESS_TAG: process_name(), **git_state(root)} | (
            {MLFLOW_PARENT_RUN_ID: parent} if parent else {}
        )
        self._run: Run = self._client.create_run(experiment, tags=tags, run_name=name)
        self._status = "FAILED"
        entries = [Param(key, str(value)[:MAX_VALUE_LENGTH]) for key, value in params.items()]
        for start in range(0, len(entries), BATCH):
            self._client.log_batch(self.run_id, params=entries[start : start + BATCH])

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return self._run.info.run_id

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED" if error else self._status
        self._client.set_terminated(self.run_id, status)

    def succeed(self) -> None:
        """The run ended well."""
        self._status = "FINISHED"

    def tag(self, name: str, value: str) -> None:
        """Set one tag."""
        self._client.set_tag(self.run_id, name, value[:MAX_VALUE_LENGTH])

    def tags(self, values: Mapping[str, str]) -> None:
        """Set several tags."""
        entries = [RunTag(name, value[:MAX_VALUE_LENGTH]) for name, value in values.items()]
        for start in range(0, len(entries), BATCH):
            self._client.log_batch(self.run_id, tags=entries[start : start + BATCH])

    def metrics(self, values: Sequence[tuple[str, float, int]]) -> None:
        """Log (name, value, step)."""
        now = int(time.time() * 1000)
        entries = [Metric(name, float(value), now, step) for name, value, step in values]
        for start in range(0, len(entries), BATCH):
            self._client.log_batch(self.run_id, metrics=entries[start : start + BATCH])

    def figures(self, paths: Sequence[Path], root: Path) -> None:
        """Copy pictures and pages into the run; those that are in the store and not in the project go to figures/."""
        for path in paths:
            place = Path("figures") / (path.parent.relative_to(root) if path.is_relative_to(root) else "")
            self._client.log_artifact(self.run_id, str(path), place.as_posix())

    def register_model(self, name: str, folder: Path) -> None:
        """Copy a model into the run and make it the newest version of the registered model of that name."""
        place, registered = f"models/{name}", f"{MODEL_PREFIX}{name}"
        self._client.log_artifacts(self.run_id, str(folder), place)
        try:
            self._client.create_registered_model(registered)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = self._client.create_model_version(registered, f"{self._run.info.artifact_uri}/{place}", self.run_id)
        self._client.set_registered_model_alias(registered, MODEL_ALIAS, str(version.version))
