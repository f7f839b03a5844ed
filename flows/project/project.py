"""Locations of the project and of the machine's state, locks, and the environment of the tools.

Imports none of Prefect, DVC, MLflow and torch: `headforge run` may end before it needs them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from headforge.errors import HeadforgeError, InputError

HOME_VARIABLE = "HEADFORGE_HOME"
PARENT_RUN_VARIABLE = "HEADFORGE_PARENT_RUN"
"""MLflow run id of the `headforge run` that a stage belongs to."""
OUTCOME_VARIABLE = "HEADFORGE_OUTCOME"
"""File into which a stage writes its outcome for the `headforge` process that started it."""
LOCKED_VARIABLE = "HEADFORGE_LOCKED"
"""Project whose lock is held by the `headforge` process that started this one."""
LOOPBACK = ("127.0.0.1", "localhost")
MIN_FREE_BYTES = 1 << 30
"""Least free space for a run; with less it would fill the disk before it ends."""

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
"""No telemetry, little logging, and one thread per process: the engine runs processes in parallel."""


class ProjectError(HeadforgeError):
    """The current folder is not a usable project."""


class BusyError(HeadforgeError):
    """Another run is in progress in the same project."""


def find_root(start: Path) -> Path:
    """Return `start` or its nearest parent with a dvc.yaml, in a git repository and initialised for DVC."""
    start = start.resolve()
    root = next((folder for folder in (start, *start.parents) if (folder / "dvc.yaml").is_file()), None)
    if root is None:
        raise ProjectError(
            f"{start} is not in a headforge project: no folder from there to the root has a dvc.yaml.",
            "change into a clone of the headforge repository and run the command again.",
        )
    if not any((folder / ".git").exists() for folder in (root, *root.parents)):
        raise ProjectError(
            f"{root} is not in a git repository, which DVC needs to track what the stages make.",
            f"run 'git init' in {root}, or work in a git clone instead of a copy of the files.",
        )
    if not (root / ".dvc" / "config").is_file():
        raise ProjectError(f"{root} has a dvc.yaml but no .dvc/config.", "run 'git checkout .dvc', or 'dvc init'.")
    return root


def home() -> Path:
    """Return the folder of the machine's state (store, Prefect and MLflow databases); create it if needed.

    Other users have no access to it, because it holds faces.
    """
    named = os.environ.get(HOME_VARIABLE)
    try:
        path = Path(named).expanduser() if named else platformdirs.user_cache_path("headforge")
    except RuntimeError as error:
        message = f"{HOME_VARIABLE} is '{named}', and this machine has no such user."
        raise InputError(str(named), message, f"set {HOME_VARIABLE} to a folder.") from error
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if is_open_to_others(path):
            path.chmod(0o700)
        probe = path / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            path,
            f"the folder for headforge's store, {path}, can't be written: {error.strerror}.",
            f"make it writable, or set {HOME_VARIABLE} to a folder that is.",
        ) from error
    return path.resolve()


def is_open_to_others(folder: Path) -> bool:
    """Return whether other users may enter a folder of this user's; one with the sticky bit is meant for all."""
    status = folder.stat()
    return status.st_uid == os.getuid() and bool(status.st_mode & 0o077) and not status.st_mode & stat.S_ISVTX


def store_root() -> Path:
    """Return the folder of the object store."""
    return home() / "store"


def require_space(*folders: Path, n_bytes: int = 0) -> None:
    """Raise InputError if a folder's file system has less free space than `n_bytes` and `MIN_FREE_BYTES`."""
    for folder in folders:
        free = shutil.disk_usage(folder).free
        needed = max(n_bytes, MIN_FREE_BYTES)
        if free < needed:
            raise InputError(
                folder,
                f"{folder} has {free / 2**20:.0f} MiB of free space; a run needs at least {needed >> 20} MiB.",
                f"free some space, or set {HOME_VARIABLE} to a folder on a larger disk.",
            )


def quiet_environment() -> None:
    """Set the environment of this process and its children: own interpreter first on PATH, one thread, no telemetry."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_HOME", str(home() / "prefect"))
    no_proxy_to_loopback()
    own_interpreter_first()


def no_proxy_to_loopback() -> None:
    """Keep what goes to this machine's own servers, tokens among it, from a proxy that the environment names."""
    for name in ("NO_PROXY", "no_proxy"):
        listed = [place for place in os.environ.get(name, "").split(",") if place]
        os.environ[name] = ",".join([*listed, *(place for place in LOOPBACK if place not in listed)])


def own_interpreter_first() -> None:
    """Put the folder of the running interpreter first on PATH, for `python` in the stages' commands."""
    folder = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "")
    if path.split(os.pathsep)[0] != folder:
        os.environ["PATH"] = folder + os.pathsep + path


@contextlib.contextmanager
def only_run(root: Path) -> Iterator[None]:
    """Hold the project's lock; raises BusyError if another run holds it. The system frees it on any exit.

    Does nothing in a stage started by a `headforge` process that holds the lock.
    """
    if os.environ.get(LOCKED_VARIABLE) == str(root):
        yield
        return
    folder = root / ".dvc" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "headforge.lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise busy_error(root, f"process {file.read().strip() or '?'}") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        os.environ[LOCKED_VARIABLE] = str(root)
        try:
            yield
        finally:
            del os.environ[LOCKED_VARIABLE]


def busy_error(root: Path, who: str) -> BusyError:
    """Return the error for a project that another process works on."""
    return BusyError(
        f"another run is in progress in {root} ({who}).",
        "wait for it to end, or stop it; a different experiment can run at the same time with 'dvc exp run --temp'.",
    )


@contextlib.contextmanager
def machine_lock(name: str) -> Iterator[None]:
    """Wait for and hold a lock that all headforge processes of this machine share."""
    with (home() / f"{name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
