"""The process pool that runs the library's functions, one thread in each process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path
from types import TracebackType
from typing import Any

from headforge.errors import ConfigError, HeadforgeError
from headforge.progress import SILENT, Progress

PARENT_CHECK_S = 1.0
REPORT_TIMEOUT_S = 5.0
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


@dataclass(frozen=True)
class EngineConfig:
    """Settings of the engine; no result depends on them."""

    workers: int = 0
    """Processes that work at the same time; 0 for one per processor core."""
    retries: int = 2
    """How often an item that crashed is tried again; an item that is refused on purpose is not."""

    def __post_init__(self) -> None:
        for name in ("workers", "retries"):
            found = getattr(self, name)
            if found < 0:
                key = f"engine.{name}"
                raise ConfigError(key, found, f"{key} is {found}, expected 0 or more.", f"set {key} to 0 or more.")

    @property
    def n_processes(self) -> int:
        """The number of processes that `workers` stands for."""
        return self.workers or len(os.sched_getaffinity(0))


class CrashedError(Exception):
    """An item failed in a worker in a way nobody foresaw; worth another try."""

    def __init__(self, reason: str, details: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.details = details


class AbortedError(Exception):
    """The engine was told to stop."""


@dataclass(frozen=True)
class _Raised:
    """What a worker sends in place of an exception, which may not survive the way between processes."""

    reason: str
    details: str
    help: str | None
    """None if the error was not deliberate."""


class Engine:
    """A pool of spawned processes; `run` may be called from several threads. A context manager.

    What the functions report to their `Progress` arrives at the engine's, from a thread of its own.
    """

    def __init__(self, n_processes: int, progress: Progress) -> None:
        self.n_processes = n_processes
        self._progress = progress
        self._context = multiprocessing.get_context("spawn")
        self._reports = self._context.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._lock = threading.Lock()
        self._aborted = False
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Engine:
        os.environ.update(WORKER_ENVIRONMENT)
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if error is not None:
            self.abort()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._reports.put(None)
        self._listener.join(REPORT_TIMEOUT_S)

    def run(self, function: Callable[..., Any], *args: object) -> Any:
        """Call a top-level function as function(*args, progress) in a worker and wait for what it returns.

        Raises HeadforgeError for a deliberate error there, CrashedError for any other and for a worker that died, and
        AbortedError after `abort`.
        """
        pool = self._running_pool()
        try:
            answer = pool.submit(_guarded, function, args).result()
        except BrokenProcessPool as error:
            with self._lock:
                if self._pool is pool:
                    self._pool = None
                if self._aborted:
                    raise AbortedError from error
            raise CrashedError("a worker process died (killed, or out of memory)", "") from error
        if not isinstance(answer, _Raised):
            return answer
        if answer.help is None:
            raise CrashedError(answer.reason, answer.details)
        raise HeadforgeError(answer.reason, answer.help)

    def abort(self) -> None:
        """End the workers at once; whoever waits for one gets an AbortedError. No lock: signal handlers call it."""
        self._aborted = True
        pool = self._pool
        for process in list((pool._processes or {}).values()) if pool is not None else ():
            process.kill()

    def _running_pool(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._aborted:
                raise AbortedError
            if self._pool is None:
                start = (os.getpid(), self._reports)
                self._pool = ProcessPoolExecutor(self.n_processes, self._context, _start_worker, start)
            return self._pool

    def _listen(self) -> None:
        while (report := self._reports.get()) is not None:
            method, arguments = report
            getattr(self._progress, method)(*arguments)


class _QueueProgress:
    """Sends what a stage reports to the process that started this one."""

    def __init__(self, reports: Queue[Any]) -> None:
        self._reports = reports

    def start(self, n_items: int, unit: str) -> None:
        self._reports.put(("start", (n_items, unit)))

    def item_done(self, item: str, n: int = 1) -> None:
        self._reports.put(("item_done", (item, n)))

    def item_rejected(self, item: str, reason: str) -> None:
        self._reports.put(("item_rejected", (item, reason)))

    def metric(self, name: str, value: float, step: int) -> None:
        self._reports.put(("metric", (name, value, step)))

    def image(self, name: str, path: Path) -> None:
        self._reports.put(("image", (name, path)))


_worker_progress: Progress = SILENT


def _start_worker(parent: int, reports: Queue[Any]) -> None:
    global _worker_progress
    reports.cancel_join_thread()  # a killed neighbour may hold the pipe's lock for ever
    _worker_progress = _QueueProgress(reports)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the driver ends its workers
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: after kill -9 nobody else would."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    os._exit(1)


def _guarded(function: Callable[..., Any], args: tuple[object, ...]) -> Any:
    import torch  # after the environment is set, and only in workers

    torch.set_num_threads(1)
    try:
        return function(*args, _worker_progress)
    except HeadforgeError as error:
        return _Raised(error.message, "", error.help)
    except Exception as error:
        return _Raised(f"{type(error).__name__}: {error}", traceback.format_exc(), None)
