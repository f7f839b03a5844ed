"""A Prefect server of our own on loopback, for as long as one command runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from flows.project import home
from headforge.errors import HeadforgeError

API_VARIABLE = "PREFECT_API_URL"
PORT_VARIABLE = "PREFECT_SERVER_API_PORT"
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 15.0
ANSWER_TIMEOUT_S = 5.0
POLL_S = 0.1
DRAIN_TIMEOUT_S = 10.0


class ServerError(HeadforgeError):
    """No Prefect server can be reached or started."""


@contextlib.contextmanager
def prefect_server() -> Iterator[str]:
    """The API address of the server that PREFECT_API_URL names, or of a private one that ends with the block."""
    named = os.environ.get(API_VARIABLE)
    if named:
        require_prefect(named)
        yield named
        return
    with _database() as database, _private_server(database) as url:
        os.environ[API_VARIABLE] = url
        try:
            yield url
        finally:
            _drain()
            del os.environ[API_VARIABLE]


def require_prefect(url: str) -> None:
    """Raise ServerError unless a Prefect server answers at this API address."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=ANSWER_TIMEOUT_S) as answer:
            if json.loads(answer.read()) is True:
                return
            found = "something that is no Prefect server answers there"
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        found = f"nothing usable answers there ({reason})"
    raise ServerError(
        f"{API_VARIABLE} is {url}, but {found}.",
        f"start that server ('prefect server start'), or unset {API_VARIABLE}: headforge then starts one of its own.",
    )


@contextlib.contextmanager
def _database() -> Iterator[Path]:
    """The database file of a private server; a second server at the same time gets a throw-away one."""
    folder = home() / "prefect"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            own = folder / f"second-{os.getpid()}.db"
            try:
                yield own
            finally:
                for path in folder.glob(f"{own.name}*"):
                    path.unlink(missing_ok=True)
            return
        for left_over in folder.glob("second-*.db*"):
            if not Path(f"/proc/{left_over.name.split('-')[1].split('.')[0]}").exists():
                left_over.unlink(missing_ok=True)
        yield folder / "prefect.db"


@contextlib.contextmanager
def _private_server(database: Path) -> Iterator[str]:
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = {name: value for name, value in os.environ.items() if name != API_VARIABLE}
    environment |= {
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    }
    log = database.with_suffix(".log")
    with log.open("w") as output:
        # A process group of its own: Ctrl-C in the terminal must not stop it before its clients have reported.
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(port), str(os.getpid())],
            env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0,
        )  # fmt: skip
    try:
        _wait_until_up(process, url, log)
        yield url
    finally:
        _stop(process)


def _free_port() -> int:
    wanted = int(os.environ.get(PORT_VARIABLE) or 0)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise ServerError(
                f"port {wanted}, which {PORT_VARIABLE} names, is taken by another program.",
                f"stop that program, name another port, or unset {PORT_VARIABLE}: headforge then finds a free one.",
            ) from error
        return probe.getsockname()[1]


def _wait_until_up(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            if json.loads(answer.read()) is True:
                return
        time.sleep(POLL_S)
    last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
    raise ServerError(f"the private Prefect server did not start: {last[0]}.", f"look at {log}.")


def _drain() -> None:
    """Send what this process still holds for the server while it is up: logs and events go out in the background."""
    from prefect.events.worker import EventsWorker  # environment first, see flows/runner.py
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=DRAIN_TIMEOUT_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _serve(port: int, parent: int) -> None:
    import uvicorn  # the driver, which imports this module too, must start fast
    from prefect.server.api.server import create_app

    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    uvicorn.run(create_app(webserver_only=False), host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
