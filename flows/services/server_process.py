"""The process of a Prefect server on loopback: starting it, waiting for it, and what runs in it.

Prefect's server runs whatever its clients tell it to, a shell included. So it never stands alone: the guard is in front
of it, and it asks for a token (`flows/services/guard.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from flows.services.access import API_VARIABLE, KEY_VARIABLE, SERVER_TOKEN_VARIABLE, TOKEN_VARIABLE
from flows.services.guard import API, Guard, named_hosts, rules_for
from flows.services.prefect_database import URL_VARIABLE, database_url
from headforge.errors import HeadforgeError

HOST = "127.0.0.1"
PORT_VARIABLE = "PREFECT_SERVER_API_PORT"
FOR_CLIENTS = (API_VARIABLE, TOKEN_VARIABLE, KEY_VARIABLE)
ELSEWHERE = ("PREFECT_SERVER_API_BASE_PATH", "PREFECT_UI_SERVE_BASE", "PREFECT_SERVER_UI_SERVE_BASE")
"""They would move the API or the pages to paths that neither our clients nor the guard know."""
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.1
NO_PARENT = 0
"""In place of the parent of a server that outlives who started it."""


class ServerError(HeadforgeError):
    """No Prefect server can be reached or started."""


def api_address(port: int) -> str:
    """Return the API address of a server at this port."""
    return f"http://{HOST}:{port}{API}"


def free_port(preferred: int = 0) -> int:
    """Return the port in PREFECT_SERVER_API_PORT, else the preferred one, else any free one.

    Raises ServerError if the named one is taken.
    """
    wanted = int(os.environ.get(PORT_VARIABLE) or 0)
    for port in (wanted,) if wanted else (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return probe.getsockname()[1]
    raise ServerError(
        f"port {wanted}, which {PORT_VARIABLE} names, is taken by another program.",
        f"stop that program, name another port, or unset {PORT_VARIABLE}: headforge then finds a free one.",
    )


def start_server(
    database: Path,
    port: int,
    token: str,
    parent: int,
    lock: int | None = None,
    extra: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server that ends with the process `parent`, or never if that is NO_PARENT; it may not answer yet.

    It lets in who shows the token. It inherits the descriptor `lock`, so that the file stays locked for as long as the
    server lives. What it says goes to a .log beside the database. `extra` goes into its environment.
    """
    named_hosts()  # a wrong one is better refused here than in the server's log
    environment = {name: value for name, value in os.environ.items() if name not in (*FOR_CLIENTS, *ELSEWHERE)}
    environment |= {
        URL_VARIABLE: database_url(database),
        PORT_VARIABLE: str(port),
        SERVER_TOKEN_VARIABLE: token,
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        # Its own pages, which call 127.0.0.1 from localhost too.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port},http://localhost:{port}",
    } | dict(extra or {})
    with database.with_suffix(".log").open("w") as output:
        # A process group of its own: Ctrl-C in the terminal must not stop it before its clients have reported.
        return subprocess.Popen(
            [sys.executable, "-m", "flows.services.server_process", str(port), str(parent)],
            env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=parent == NO_PARENT, process_group=None if parent == NO_PARENT else 0,
            pass_fds=() if lock is None else (lock,),
        )  # fmt: skip


def answers(url: str, timeout_s: float = 1.0) -> bool:
    """Return whether a healthy Prefect server answers at this API address; OSError or ValueError if it is none."""
    with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=timeout_s) as answer:
        return json.loads(answer.read()) is True


def wait_until_up(url: str, log: Path, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return when the server answers; raises ServerError if it ends or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            break
        with contextlib.suppress(OSError, ValueError):
            if answers(url):
                return
        time.sleep(POLL_S)
    said = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    raise ServerError(
        f"the Prefect server did not start: {said[-1] if said else 'it said nothing'}.", f"look at {log}."
    )


def stop_server(process: subprocess.Popen[bytes]) -> None:
    """End a server that this process started."""
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

    if parent != NO_PARENT:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    guarded = Guard(create_app(webserver_only=False), rules_for(port, os.environ[SERVER_TOKEN_VARIABLE], named_hosts()))
    # Proxy headers are ignored: there is no proxy in front of this server.
    uvicorn.run(guarded, host=HOST, port=port, log_level="error", proxy_headers=False, server_header=False)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
