"""Where items run: the settings, what every engine can do, and the errors it answers with."""

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
    cluster at scheduler_address) or slurm (Dask workers as SLURM jobs)."""
    workers: int = setting(0, at_least=0, at_most=4096)
    """Processes that work at the same time; 0 for one per processor core, with dask for as many as the cluster has."""
    retries: int = setting(2, at_least=0, at_most=1000)
    """How often an item that crashed is tried again; an item that is refused on purpose is not."""
    gpus: int = setting(0, at_least=0, at_most=4096)
    """How many of the workers get a graphics card each; items that need one run there only. With slurm all or none."""
    scheduler_address: str = ""
    """Address of the Dask scheduler, such as tcp://node1:8786; for the profile dask."""
    slurm_partition: str = ""
    """Partition that the jobs ask for; empty for the default one."""
    slurm_account: str = ""
    """Account that the jobs are charged to; empty for the default one."""
    slurm_walltime: str = "04:00:00"
    """Time limit of a job; a job that ends is replaced, and an item that it was at is made again."""
    slurm_memory: str = "8GB"
    """Memory of a job; each job is one worker."""
    slurm_interface: str = ""
    """Network interface by which jobs reach the driver, such as ib0; empty for the default one."""

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
        """The number of processes that `workers` stands for on this machine."""
        return self.workers or len(os.sched_getaffinity(0))


class CrashedError(Exception):
    """An item failed in a worker in a way nobody foresaw; worth another try."""

    def __init__(self, reason: str, details: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.details = details


class AbortedError(Exception):
    """The engine was told to stop."""


class EngineError(HeadforgeError):
    """The engine can't be started, or can't run what it is asked to run."""


class Engine(Protocol):
    """Runs functions in worker processes, one at a time in each, with one thread. A context manager."""

    @property
    def n_slots(self) -> int:
        """How many calls of `run` make progress at the same time."""
        ...

    def run(
        self, function: Callable[..., Any], *args: object, progress: Progress = SILENT, needs_gpu: bool = False
    ) -> Any:
        """Call a top-level function as function(*args, progress) in a worker and wait for what it returns.

        Several threads may call it. What the function reports arrives at `progress` before this returns. Raises
        HeadforgeError for a deliberate error there, CrashedError for any other and for a worker that died, EngineError
        if no worker can run it, and AbortedError after `abort`.
        """
        ...

    def abort(self) -> None:
        """End the work at once; whoever waits gets an AbortedError. Takes no lock: signal handlers call it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...


def visible_cards(n: int) -> list[str]:
    """Return what the first n graphics cards that this process may use are called in CUDA_VISIBLE_DEVICES."""
    named = os.environ.get(CARDS_VARIABLE)
    cards = [str(number) for number in range(n)] if named is None else [name for name in named.split(",") if name]
    if n > len(cards):
        allowed = f"at most {len(cards)}, the number of cards that {CARDS_VARIABLE} names"
        raise ConfigError("engine.gpus", n, f"engine.gpus is {n}, it must be {allowed}.",
                          f"set engine.gpus to a value that is {allowed}.")  # fmt: skip
    return cards[:n]
