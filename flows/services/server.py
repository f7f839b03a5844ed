"""Which Prefect server a command talks to: the one named, the one that is up, or a private one while it runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from flows.project.project import home
from flows.services.prefect_database import prepared_database
from flows.services.server_process import (
    API_VARIABLE,
    ServerError,
    answers,
    api_address,
    free_port,
    start_server,
    stop_server,
    wait_until_up,
)

ANSWER_TIMEOUT_S = 5.0
DRAIN_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Running:
    """The server that works on the machine's database."""

    url: str
    """Its API address."""
    stays: bool
    """Whether `headforge up` started it; others end with the command they serve."""


@contextlib.contextmanager
def prefect_server(meanwhile: Callable[[], None] = lambda: None) -> Iterator[str]:
    """The API address of the server to use. Records reach it before the block ends.

    The one that PREFECT_API_URL names; else the one that `headforge up` started; else a private one that ends with the
    block. `meanwhile` is called while a private one starts, which takes seconds.
    """
    named = os.environ.get(API_VARIABLE)
    if named:
        require_prefect(named)
        yield named
        return
    with database_lock() as lock:
        running = running_server() if lock is None else None
        server = _shared(running) if running is not None and running.stays else _private(lock, meanwhile)
        with server as url, _named(url):
            try:
                yield url
            finally:
                _drain()


@contextlib.contextmanager
def records_server() -> Iterator[str]:
    """The API address of a server on the machine's database: whichever has it now, else one for the block."""
    with database_lock() as lock:
        running = running_server() if lock is None else None
        server = _private(lock) if running is None else _shared(running)
        with server as url, _named(url):
            yield url


def require_prefect(url: str) -> None:
    """Raise ServerError unless a Prefect server answers at this API address."""
    try:
        if answers(url, ANSWER_TIMEOUT_S):
            return
        found = "something that is no Prefect server answers there"
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        found = f"nothing usable answers there ({reason})"
    raise ServerError(
        f"{API_VARIABLE} is {url}, but {found}.",
        f"start that server ('prefect server start'), or unset {API_VARIABLE}: headforge then starts one of its own.",
    )


def database() -> Path:
    """The machine's Prefect database."""
    return home() / "prefect" / "prefect.db"


@contextlib.contextmanager
def database_lock() -> Iterator[IO[str] | None]:
    """Hold the lock that goes with a server on the machine's database; None if there is such a server already."""
    path = database().with_name("server.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        lock.truncate(0)
        yield lock


def note_running(lock: IO[str], running: Running) -> None:
    """Leave in the lock file which server it stands for."""
    lock.write(json.dumps(asdict(running)))
    lock.flush()


def running_server() -> Running | None:
    """What the lock file says; it holds only while somebody has the lock."""
    try:
        return Running(**json.loads(database().with_name("server.lock").read_text()))
    except (OSError, ValueError, TypeError):
        return None


@contextlib.contextmanager
def _shared(running: Running) -> Iterator[str]:
    wait_until_up(running.url, database().with_suffix(".log"))
    yield running.url


@contextlib.contextmanager
def _private(lock: IO[str] | None, meanwhile: Callable[[], None] = lambda: None) -> Iterator[str]:
    """A server for this process; beside another private one it has a database that is thrown away."""
    path = prepared_database(database()) if lock is not None else database().with_name(f"second-{os.getpid()}.db")
    _remove_left_overs(database().parent)
    port = free_port()
    url = api_address(port)
    process = start_server(path, port, os.getpid())
    try:
        meanwhile()
        wait_until_up(url, path.with_suffix(".log"), process)
        if lock is not None:
            note_running(lock, Running(url, stays=False))
        yield url
    finally:
        stop_server(process)
        if lock is None:
            for file in path.parent.glob(f"{path.stem}.*"):
                file.unlink(missing_ok=True)
        elif path != database():
            shutil.rmtree(path.parent, ignore_errors=True)


def _remove_left_overs(folder: Path) -> None:
    for file in folder.glob("second-*"):
        if not Path(f"/proc/{file.name.split('-')[1].split('.')[0]}").exists():
            file.unlink(missing_ok=True)


@contextlib.contextmanager
def _named(url: str) -> Iterator[None]:
    before = os.environ.get(API_VARIABLE)
    os.environ[API_VARIABLE] = url
    try:
        yield
    finally:
        del os.environ[API_VARIABLE]
        if before is not None:
            os.environ[API_VARIABLE] = before


def _drain() -> None:
    """Send what this process still holds for the server while it is up: logs and events go out in the background."""
    from prefect.events.worker import EventsWorker  # environment first, see flows/run/runner.py
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=DRAIN_TIMEOUT_S)
