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
from flows.services.access import (
    API_VARIABLE,
    KEY_VARIABLE,
    TOKEN_VARIABLE,
    Access,
    make_private,
    new_token,
    read_token,
    write_token,
)
from flows.services.prefect_database import prepared_database
from flows.services.server_process import (
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
def prefect_server(meanwhile: Callable[[], None] = lambda: None) -> Iterator[Access]:
    """Provide the server to use, which the environment names in the block; records reach it before the block ends.

    The one that PREFECT_API_URL names, with whatever the user has set to get in; else the one that `headforge up`
    started; else a private one that ends with the block. `meanwhile` is called while a private one starts, which takes
    seconds.
    """
    named = os.environ.get(API_VARIABLE)
    if named:
        require_prefect(named)
        with _as_named(named) as access:
            yield access
        return
    with database_lock() as lock:
        running = running_server() if lock is None else None
        server = _shared(running) if running is not None and running.stays else _private(lock, meanwhile)
        with server as access, access.named():
            try:
                yield access
            finally:
                _drain()


@contextlib.contextmanager
def records_server() -> Iterator[Access]:
    """Provide a server on the machine's database: the running one, or one for the duration of the block."""
    with database_lock() as lock:
        running = running_server() if lock is None else None
        server = _private(lock) if running is None else _shared(running)
        with server as access, access.named():
            yield access


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
    """Return the path of this machine's Prefect database."""
    return home() / "prefect" / "prefect.db"


def token_file() -> Path:
    """Return the file with the token of the server on the machine's database."""
    return database().with_name("server.token")


def access_to(running: Running) -> Access:
    """Return the access to the server on the machine's database; raises AccessError if its token can't be read."""
    return Access(running.url, read_token(token_file()))


@contextlib.contextmanager
def database_lock() -> Iterator[IO[str] | None]:
    """Hold the lock that goes with a server on the machine's database; None if there is such a server already."""
    path = database().with_name("server.lock")
    make_private(path.parent)
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
    """Return the content of the lock file; it is valid only while a process holds the lock."""
    try:
        return Running(**json.loads(database().with_name("server.lock").read_text()))
    except (OSError, ValueError, TypeError):
        return None


@contextlib.contextmanager
def _as_named(url: str) -> Iterator[Access]:
    """Use the user's own server with the user's own settings; if it is ours, add its token."""
    running = running_server()
    is_open = TOKEN_VARIABLE in os.environ or KEY_VARIABLE in os.environ
    if is_open or running is None or running.url != url.rstrip("/") or not token_file().exists():
        yield Access(url, os.environ.get(TOKEN_VARIABLE, ""))
        return
    with access_to(running).named():
        yield access_to(running)


@contextlib.contextmanager
def _shared(running: Running) -> Iterator[Access]:
    wait_until_up(running.url, database().with_suffix(".log"))
    yield access_to(running)


@contextlib.contextmanager
def _private(lock: IO[str] | None, meanwhile: Callable[[], None] = lambda: None) -> Iterator[Access]:
    """Provide a server for this process; beside another private one it has a temporary database."""
    path = prepared_database(database()) if lock is not None else database().with_name(f"second-{os.getpid()}.db")
    _remove_left_overs(database().parent)
    port = free_port()
    access = Access(api_address(port), new_token())
    if lock is not None:
        write_token(token_file(), access.token)
    process = start_server(path, port, access.token, os.getpid())
    try:
        meanwhile()
        wait_until_up(access.url, path.with_suffix(".log"), process)
        if lock is not None:
            note_running(lock, Running(access.url, stays=False))
        yield access
    finally:
        stop_server(process)
        if lock is None:
            for file in path.parent.glob(f"{path.stem}.*"):
                file.unlink(missing_ok=True)
        else:
            token_file().unlink(missing_ok=True)
            if path != database():
                shutil.rmtree(path.parent, ignore_errors=True)


def _remove_left_overs(folder: Path) -> None:
    for file in folder.glob("second-*"):
        if not Path(f"/proc/{file.name.split('-')[1].split('.')[0]}").exists():
            file.unlink(missing_ok=True)


def _drain() -> None:
    """Send what this process still holds for the server while it is up: logs and events go out in the background."""
    from prefect.events.worker import EventsWorker  # environment first, see flows/run/runner.py
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=DRAIN_TIMEOUT_S)
