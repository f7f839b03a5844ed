"""Which process something belongs to, whether it is still there, and how to end one with everything it started."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

import psutil

START_TOLERANCE_S = 2.0
"""How far the noted start of a process may be from the system's, which follows corrections of the clock."""
END_TIMEOUT_S = 15.0


def process_name(pid: int | None = None) -> str:
    """Return HOST:PID:START of a process, by default this one; START tells it from later ones of that number."""
    pid = pid or os.getpid()
    return f"{socket.gethostname()}:{pid}:{psutil.Process(pid).create_time():.0f}"


def is_here(name: str) -> bool:
    """Return whether a `process_name` is of this host, where `find_process` can look it up."""
    return name.rsplit(":", 2)[0] == socket.gethostname()


def find_process(name: str) -> psutil.Process | None:
    """Return the living process of a `process_name` of this host, or None."""
    try:
        _, pid, start = name.rsplit(":", 2)
        process = psutil.Process(int(pid))
        if abs(process.create_time() - float(start)) > START_TOLERANCE_S or process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process
    except (psutil.NoSuchProcess, ValueError):
        return None


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and all its descendants, the oldest first; empty if it has ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end_processes(processes: Sequence[psutil.Process], timeout_s: float = END_TIMEOUT_S) -> None:
    """Ask processes to end, and make those end that have not after `timeout_s`."""
    for process in processes:
        _signal(process, kill=False)
    _, alive = psutil.wait_procs(processes, timeout_s)
    for process in alive:
        _signal(process, kill=True)
    psutil.wait_procs(alive, timeout_s)


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        return
