"""Settings, interface and errors of the engines, which run items in worker processes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from headforge.errors import ConfigError, HeadforgeError
from headforge.progress import SILENT, Progress
from headforge.settings import check_settings, require, setting

PROFILES = ("local", "dask-local", "dask", "slurm")
CARDS_VARIABLE = "CUDA_VISIBLE_DEVICES"
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
_WALLTIME = re.compile(r"(\d+-)?\d{1,2}:\d{2}:\d{2}")


@dataclass(frozen=True)
class EngineConfig:
    """Settings of the engine; no result depends on them."""

    profile: str = setting("local", one_of=PROFILES)
    """Where items run: local (processes of this machine), dask-local (a Dask cluster of this machine), dask (the
    cluster at scheduler_address) or slurm (Dask workers in SLURM jobs)."""
    workers: int = setting(0, at_least=0, at_most=4096)
    """Number of worker processes; 0 for one per processor core, or with the profile dask for all of the cluster."""
    retries: int = setting(2, at_least=0, at_most=1000)
    """Number of retries of a crashed item; deliberate errors are not retried."""
    gpus: int = setting(0, at_least=0, at_most=4096)
    """Number of workers with a GPU each; items that need a GPU run only there. With the profile slurm all or none."""
    scheduler_address: str = ""
    """Address of the Dask scheduler, such as tcp://node1:8786; only for the profile dask."""
    slurm_partition: str = ""
    """Partition of the jobs; empty for the default one."""
    slurm_account: str = ""
    """Account of the jobs; empty for the default one."""
    slurm_walltime: str = "04:00:00"
    """Time limit of a job; a job that ends is replaced, and its unfinished item is retried."""
    slurm_memory: str = "8GB"
    """Memory of a job; each job is one worker."""
    slurm_interface: str = ""
    """Network interface through which jobs reach the driver, such as ib0; empty for the default one."""

    def __post_init__(self) -> None:
        check_settings(self, "engine")
        is_addressed = (self.profile == "dask") == bool(self.scheduler_address)
        allowed = "an address with the profile dask and empty with any other"
        require(self, "engine", "scheduler_address", is_addressed, allowed)
        is_timed = bool(_WALLTIME.fullmatch(self.slurm_walltime))
        require(self, "engine", "slurm_walltime", is_timed, "hours:minutes:seconds")
        if self.profile == "slurm":
            allowed = "at least 1 with the profile slurm: the number of jobs"
            require(self, "engine", "workers", self.workers >= 1, allowed)
            allowed = "0 or engine.workers with the profile slurm"
            require(self, "engine", "gpus", self.gpus in (0, self.workers), allowed)
        elif self.profile == "dask":
            allowed = "0 with the profile dask: its workers say what they have"
            require(self, "engine", "gpus", self.gpus == 0, allowed)
        else:
            allowed = "at most the number of workers"
            require(self, "engine", "gpus", self.gpus <= self.n_processes, allowed)

    @property
    def n_processes(self) -> int:
        """Number of worker processes on this machine."""
        return self.workers or len(os.sched_getaffinity(0))


class CrashedError(Exception):
    """An item failed in a worker with an unexpected error; it may be retried."""

    def __init__(self, reason: str, details: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.details = details


class AbortedError(Exception):
    """The engine was aborted."""


class EngineError(HeadforgeError):
    """The engine can't start, or can't run a call."""


class Engine(Protocol):
    """Context manager that runs functions in worker processes, one at a time in each, with one thread."""

    @property
    def n_slots(self) -> int:
        """Number of calls of `run` that make progress at the same time."""
        ...

    def run(
        self, function: Callable[..., Any], *args: object, progress: Progress = SILENT, needs_gpu: bool = False
    ) -> Any:
        """Call a top-level function as function(*args, progress) in a worker, wait for its result and return it.

        Thread-safe. All reports of the function reach `progress` before this returns. Raises HeadforgeError for a
        deliberate error in the function, CrashedError for any other error and for a worker that died, EngineError if no
        worker can run it, and AbortedError after `abort`.
        """
        ...

    def abort(self) -> None:
        """Stop all work at once; waiting calls raise AbortedError. Takes no lock, since signal handlers call it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...


def visible_cards(n: int) -> list[str]:
    """Return the names in CUDA_VISIBLE_DEVICES of the first n GPUs that this process may use."""
    named = os.environ.get(CARDS_VARIABLE)
    cards = [str(number) for number in range(n)] if named is None else [name for name in named.split(",") if name]
    if n > len(cards):
        allowed = f"at most {len(cards)}, the number of GPUs that {CARDS_VARIABLE} names"
        raise ConfigError("engine.gpus", n, f"engine.gpus is {n}, it must be {allowed}.",
                          f"set engine.gpus to a value that is {allowed}.")  # fmt: skip
    return cards[:n]
