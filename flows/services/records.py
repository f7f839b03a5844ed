"""MLflow: what a run was, how good it is, and where it came from. Nothing here decides whether anything runs."""

from __future__ import annotations

import atexit
import logging
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import mlflow.store.db.utils as mlflow_database
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as ModelStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as RunStore
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from flows.project.project import home, machine_lock
from flows.project.provenance import git_state, locked_outputs
from flows.services.databases import DAMAGE, MLFLOW, error_code, mlflow_path, prepare, put_aside, reason, to_stderr
from flows.services.processes import find_process, is_here, process_name

EXPERIMENT = "headforge"
MODEL_PREFIX = "headforge-"
"""Before the name of a registered model."""
MODEL_ALIAS = "newest"
PROCESS_TAG = "process"
MAX_VALUE_LENGTH = 500
BATCH = 100
"""Entries MLflow takes in one call of each kind."""
UNKNOWN = "RESOURCE_DOES_NOT_EXIST"
Entry = TypeVar("Entry")

logging.getLogger(mlflow_database.__name__).setLevel(logging.CRITICAL)  # it prints the traceback of what it raises


def connect() -> tuple[MlflowClient, str]:
    """Return a client of this machine's database and the id of the experiment.

    The first call makes the database; two at once would both fail half-way, so that part is under a lock. A database
    that MLflow can't open is put aside. Raises whatever MLflow, SQLAlchemy or the disk have against it.
    """
    path = mlflow_path()
    with machine_lock("mlflow"):
        if prepare(path, MLFLOW, _migrate, to_stderr):
            _close_connections(path)
        try:
            return _client(path)
        except Exception as error:
            if not _is_unreadable(error):
                raise
            _close_connections(path)
            put_aside(path, MLFLOW, reason(error), to_stderr)
        prepare(path, MLFLOW, _migrate, to_stderr)
        return _client(path)


def _client(path: Path) -> tuple[MlflowClient, str]:
    client = MlflowClient(tracking_uri=_address(path))
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return client, found.experiment_id
    return client, client.create_experiment(EXPERIMENT, artifact_location=_artifacts())


def _migrate(path: Path) -> None:
    uri = _address(path)
    if path.exists():
        engine = mlflow_database.create_sqlalchemy_engine(uri)
        mlflow_database._upgrade_db(engine)
        engine.dispose()
    # The experiment 0 that it adds would have its files in the current folder, whose name may not fit into SQL.
    RunStore(uri, _artifacts())
    _close_connections(path)


def _artifacts() -> str:
    return (home() / "mlflow" / "artifacts").as_uri()


def _close_connections(path: Path) -> None:
    """Close MLflow's connections, which it keeps for the life of the process, also to a renamed file."""
    for store in (RunStore, ModelStore):
        engine = store._engine_map.get(_address(path))
        if engine is not None:
            engine.dispose()


def _address(path: Path) -> str:
    # In an address everything after a question mark would be options, and there is no way to quote one.
    return f"sqlite:///{_other_name(path.parent) / path.name if '?' in str(path) else path}"


@cache
def _other_name(folder: Path) -> Path:
    """Return a link to a folder that lasts as long as this process."""
    links = tempfile.mkdtemp(prefix="headforge-")
    atexit.register(shutil.rmtree, links, ignore_errors=True)
    link = Path(links) / "folder"
    link.symlink_to(folder)
    return link


def _is_unreadable(error: BaseException) -> bool:
    """Return whether the database itself is at fault, not the disk, a lock or the request."""
    return any(
        isinstance(cause, sqlite3.Error) and error_code(cause) in (sqlite3.SQLITE_ERROR, *DAMAGE)
        for cause in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def end_dead_records() -> int:
    """Mark the runs as KILLED whose process of this host was killed; returns how many."""
    guard = Guard("MLflow's records of runs that were killed stay as they are")
    ended: list[str] = []
    guard.call(lambda: ended.extend(_end_dead_records()))
    return len(ended)


def _end_dead_records() -> list[str]:
    client, experiment = connect()
    dead = [
        run.info.run_id
        for run in client.search_runs([experiment], "attributes.status = 'RUNNING'")
        if is_here(name := run.data.tags.get(PROCESS_TAG, "")) and find_process(name) is None
    ]
    for run_id in dead:
        client.set_terminated(run_id, "KILLED")
    return dead


class Guard:
    """Lets what a recorder does fail: that is said once, and never reaches the work that is recorded."""

    def __init__(self, consequence: str, say: Callable[[str], None] = to_stderr) -> None:
        self._consequence = consequence
        self._say = say
        self._has_said = False

    def call(self, write: Callable[[], object]) -> Exception | None:
        """Call it; returns what went wrong. An interruption is none of the recorder's business and comes through."""
        try:
            write()
        except Exception as error:
            if not self._has_said:
                self._has_said = True
                self._say(f"{self._consequence}: {reason(error)}.\nhelp: 'headforge doctor' looks at its database.")
            return error
        return None


class RunRecord:
    """One MLflow run. A context manager: ends the run as failed if its block raises.

    Nothing here raises. Once MLflow does not take something, that and what follows is kept, and tried again at the end.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        params: Mapping[str, object],
        parent: str = "",
        say: Callable[[str], None] = to_stderr,
    ) -> None:
        what = f"MLflow does not take the record of '{name}', which goes on; what is missing is tried again at its end"
        self._guard = Guard(what, say)
        self._name = name
        self._began_ms = _now_ms()
        self._client: MlflowClient | None = None
        self._run: Run | None = None
        self._entries: list[Callable[[MlflowClient, Run], object]] = []
        self._missed: list[Callable[[MlflowClient, Run], object]] = []
        self._status = "FAILED"
        self._tags = {MLFLOW_RUN_NAME: name, PROCESS_TAG: process_name()} | (
            {MLFLOW_PARENT_RUN_ID: parent} if parent else {}
        )
        self._guard.call(lambda: self._tags.update(git_state(root)))
        self._record(lambda client, run: None)  # so that the run has its id
        for batch in _batches([Param(key, str(value)[:MAX_VALUE_LENGTH]) for key, value in params.items()]):
            self._record(lambda client, run, batch=batch: client.log_batch(run.info.run_id, params=batch))

    @property
    def run_id(self) -> str:
        """MLflow's id of the run; empty while MLflow takes no record of it."""
        return self._run.info.run_id if self._run is not None else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED" if error else self._status
        ended_ms = _now_ms()
        self._record(lambda client, run: client.set_terminated(run.info.run_id, status, ended_ms))
        if self._missed:
            self._guard.call(self._catch_up)

    def succeed(self) -> None:
        """Mark the run as finished."""
        self._status = "FINISHED"

    def tag(self, name: str, value: str) -> None:
        """Set one tag."""
        self.tags({name: value})

    def tags(self, values: Mapping[str, str]) -> None:
        """Set several tags."""
        for batch in _batches([RunTag(name, value[:MAX_VALUE_LENGTH]) for name, value in values.items()]):
            self._record(lambda client, run, batch=batch: client.log_batch(run.info.run_id, tags=batch))

    def outputs(self, root: Path, stages: Sequence[str], run_id: str = "") -> None:
        """Tag the run, or that of a stage, with what dvc.lock holds of some stages."""
        found: dict[str, str] = {}
        self._guard.call(lambda: found.update(locked_outputs(root, stages)))
        tags = {f"dvc.{path}": md5 for path, md5 in found.items()}
        if not run_id:
            self.tags(tags)
        for name, md5 in tags.items() if run_id else ():
            self._record(lambda client, _, name=name, md5=md5: client.set_tag(run_id, name, md5))

    def metrics(self, values: Sequence[tuple[str, float, int]]) -> None:
        """Log (name, value, step)."""
        now = _now_ms()
        for batch in _batches([Metric(name, float(value), now, step) for name, value, step in values]):
            self._record(lambda client, run, batch=batch: client.log_batch(run.info.run_id, metrics=batch))

    def figures(self, paths: Sequence[Path], root: Path) -> None:
        """Copy pictures and pages into the run; those that are in the store and not in the project go to figures/."""
        for path in paths:
            place = Path("figures") / (path.parent.relative_to(root) if path.is_relative_to(root) else "")
            self._record(
                lambda client, run, path=path, place=place: client.log_artifact(
                    run.info.run_id, str(path), place.as_posix()
                )
            )

    def register_model(self, name: str, folder: Path) -> None:
        """Copy a model into the run and make it the newest version of the registered model of that name."""
        self._record(lambda client, run: _register_model(client, run, name, folder))

    def _record(self, write: Callable[[MlflowClient, Run], object]) -> None:
        """Call MLflow. After the first failure the calls are kept until the end, because each may wait."""
        self._entries.append(write)
        if self._missed or self._guard.call(lambda: write(*self._opened())) is not None:
            self._missed.append(write)

    def _opened(self) -> tuple[MlflowClient, Run]:
        if self._client is None or self._run is None:
            self._client, experiment = connect()
            self._run = self._client.create_run(experiment, self._began_ms, self._tags, self._name)
        return self._client, self._run

    def _catch_up(self) -> None:
        """Record what was missed; everything, if the database with the beginning is gone."""
        self._client, _ = connect()
        try:
            if self._run is not None:
                self._client.get_run(self.run_id)
        except MlflowException as error:
            if error.error_code != UNKNOWN:
                raise
            self._run, self._missed = None, self._entries
        client, run = self._opened()
        for write in self._missed:
            error = self._guard.call(lambda write=write: write(client, run))
            if any(isinstance(cause, sqlite3.Error) for cause in _causes(error)):
                return  # the next one would fail, too, perhaps after a long wait


def _batches(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    for start in range(0, len(entries), BATCH):
        yield entries[start : start + BATCH]


def _register_model(client: MlflowClient, run: Run, name: str, folder: Path) -> None:
    place, registered = f"models/{name}", f"{MODEL_PREFIX}{name}"
    client.log_artifacts(run.info.run_id, str(folder), place)
    try:
        client.create_registered_model(registered)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(registered, f"{run.info.artifact_uri}/{place}", run.info.run_id)
    client.set_registered_model_alias(registered, MODEL_ALIAS, str(version.version))


def _now_ms() -> int:
    return int(time.time() * 1000)
