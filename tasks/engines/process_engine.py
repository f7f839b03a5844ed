"""Items in processes of this machine.

Each worker has its own pipe and shares nothing with the others: its death does not affect their work.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from headforge.progress import SILENT, Progress
from tasks.engines.engine import (
    CARDS_VARIABLE,
    WORKER_ENVIRONMENT,
    AbortedError,
    CrashedError,
    EngineError,
    visible_cards,
)
from tasks.engines.worker import answer_to, opened, packed

PARENT_CHECK_S = 1.0
EXIT_TIMEOUT_S = 5.0
ANSWER = "answer"


class ProcessEngine:
    """Engine of spawned processes, each started when first needed and again after it died; see `Engine`."""

    def __init__(self, n_processes: int, n_gpus: int = 0) -> None:
        cards = visible_cards(n_gpus)
        hidden = None if n_gpus == 0 else ""
        self._slots = [_Slot(cards[number] if number < n_gpus else hidden) for number in range(n_processes)]
        self._idle = list(self._slots)
        self._changed = threading.Condition()
        self._aborted = False

    @property
    def n_slots(self) -> int:
        """Number of processes."""
        return len(self._slots)

    def __enter__(self) -> Self:
        os.environ.update(WORKER_ENVIRONMENT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if error is not None:
            self.abort()
        for slot in self._slots:
            slot.close()

    def run(
        self, function: Callable[..., Any], *args: object, progress: Progress = SILENT, needs_gpu: bool = False
    ) -> Any:
        """See `Engine.run`."""
        if needs_gpu and not any(slot.card for slot in self._slots):
            raise EngineError("an item needs a GPU, and no worker has one.", "set engine.gpus to 1 or more.")
        call = packed(function, args)
        slot = self._take(needs_gpu)
        try:
            answer = slot.call(call, progress, lambda: self._aborted)
        except (EOFError, ConnectionError) as error:
            how = slot.bury()
            if self._aborted:
                raise AbortedError from error
            raise CrashedError(f"a worker process died ({how})", "") from error
        except BaseException:  # a late message would be taken for the answer to the next call
            slot.kill()
            slot.bury()
            raise
        finally:
            self._give_back(slot)
        return opened(answer)

    def abort(self) -> None:
        """See `Engine.abort`."""
        self._aborted = True
        for slot in self._slots:
            slot.kill()

    def _take(self, needs_gpu: bool) -> _Slot:
        with self._changed:
            while True:
                if self._aborted:
                    raise AbortedError
                fitting = [slot for slot in self._idle if slot.card or not needs_gpu]
                if fitting:
                    # The last slot returned is warm. Slots without a GPU come first for items that need none.
                    slot = max(reversed(fitting), key=lambda slot: bool(slot.card) == needs_gpu)
                    self._idle.remove(slot)
                    return slot
                self._changed.wait()

    def _give_back(self, slot: _Slot) -> None:
        with self._changed:
            self._idle.append(slot)
            self._changed.notify_all()


class _Slot:
    """Place of one worker process, which is replaced when it dies."""

    def __init__(self, card: str | None) -> None:
        self.card = card
        """GPU that it may use; "" for none, None for those of this process."""
        self._process: Any = None
        self._pipe: Connection | None = None

    def call(self, call: bytes, progress: Progress, is_aborted: Callable[[], bool]) -> Any:
        """Send a call, forward progress reports and return the answer; raises EOFError if the process dies."""
        pipe = self._running()
        if is_aborted():  # the process may have been started after all others were killed
            self.kill()
            raise EOFError
        pipe.send_bytes(call)
        while True:
            method, content = pipe.recv()
            if method == ANSWER:
                return content
            getattr(progress, method)(*content)

    def kill(self) -> None:
        """Kill the process."""
        process = self._process
        if process is not None:
            process.kill()

    def bury(self) -> str:
        """Clean up after a process that died, and return the cause."""
        process, self._process = self._process, None
        self._disconnect()
        if process is None:
            return "before it began"
        process.join(EXIT_TIMEOUT_S)
        code = process.exitcode
        if code is None or code >= 0:
            return f"exit code {code}"
        cause = ", by hand or because memory ran out" if -code == signal.SIGKILL else ""
        return f"{signal.Signals(-code).name}{cause}"

    def close(self) -> None:
        """End an idle process."""
        process, self._process = self._process, None
        self._disconnect()
        if process is not None:
            process.join(EXIT_TIMEOUT_S)
            if process.exitcode is None:
                process.kill()
                process.join()

    def _disconnect(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def _running(self) -> Connection:
        if self._pipe is None or not self._process.is_alive():
            self._disconnect()
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, os.getpid(), self.card))
            process.start()
            theirs.close()
            self._pipe, self._process = ours, process
        return self._pipe


class _PipeProgress:
    """Progress reporter that sends reports to the parent process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def _send(self, method: str, *content: object) -> None:
        with self._lock:
            self._pipe.send((method, content))

    def start(self, n_items: int, unit: str) -> None:
        self._send("start", n_items, unit)

    def item_done(self, item: str, n: int = 1) -> None:
        self._send("item_done", item, n)

    def item_rejected(self, item: str, reason: str) -> None:
        self._send("item_rejected", item, reason)

    def metric(self, name: str, value: float, step: int) -> None:
        self._send("metric", name, value, step)

    def image(self, name: str, path: Path) -> None:
        self._send("image", name, path)


def _serve(pipe: Connection, parent: int, card: str | None) -> None:
    """Answer calls until the pipe is closed; main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the driver ends its workers
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if card is not None:
        os.environ[CARDS_VARIABLE] = card
    progress = _PipeProgress(pipe)
    while True:
        try:
            call = pipe.recv_bytes()
        except EOFError:
            return
        pipe.send((ANSWER, answer_to(call, progress)))


def _end_with(parent: int) -> None:
    """End this process when its parent has died, even by kill -9."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    os._exit(1)
