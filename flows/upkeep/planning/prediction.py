"""What a dataset of any size takes, from a few shards that were measured: start-up apart from work."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

INGEST_PER_S = (70.0, 100.0)
"""Task runs that Prefect's server takes in each second (3.8.8, SQLite, 2 cores; measured)."""
HANDING_OUT_S = (0.044, 0.13)
"""What a driver needs to hand an item to a worker process and to take its answer (process pool and Dask; measured)."""
DATABASE_BYTES = 20_000
"""What one task run leaves in Prefect's database."""
SPREAD = 0.1
"""How much the same run varies on the same machine, at least, as a share."""
N_COPIES = 3
"""Store, workspace and DVC's cache."""


@dataclass(frozen=True)
class Measured:
    """What a few shards took. Seconds are wall time unless named otherwise."""

    driver_s: float
    """Start and end of the command: imports, DVC's questions, Prefect's server."""
    stage_s: float
    """Start and end of the stage's own process."""
    worker_s: float
    """From the first item that is handed out to the first one that a worker begins."""
    warm_s: float
    """What each worker does once."""
    subject_s: tuple[float, ...]
    """Work per subject, of each shard measured."""
    subject_cpu_s: float
    """Processor seconds per subject."""
    shard_cpu_s: float
    """Processor seconds of the driver per shard: handing it out, taking it into the store, reporting it."""
    fixed_cpu_s: float
    """Processor seconds of everything that does not grow."""
    between_s: float
    """Between two items of a worker."""
    assemble_s: tuple[float, float]
    """Putting the dataset together: fixed, and per subject."""
    subject_bytes: float
    commit_bytes_per_s: float
    """How fast DVC takes the dataset into its cache: hash and copy."""
    n_workers: int
    """That worked at the same time."""
    has_reflinks: bool


@dataclass(frozen=True)
class Prediction:
    """What a run takes."""

    n_subjects: int
    n_shards: int
    n_workers: int
    wall_s: float
    wall_s_low: float
    wall_s_high: float
    cpu_hours: float
    gpu_hours: float
    """0: the builtin generator draws on processors."""
    store_bytes: int
    """One copy."""
    disk_bytes: int
    """Store, workspace and DVC's cache together."""
    database_bytes: int
    """What Prefect's database grows by."""
    start_up_s: float
    """Share of the wall time that does not grow with the dataset."""
    server_limit_workers: int
    """With so many workers the server takes in task runs as fast as they end, and no faster."""
    driver_limit_workers: int
    """With so many workers the driver hands out items as fast as they end, and no faster."""


def predict(measured: Measured, n_subjects: int, subjects_per_shard: int, n_workers: int) -> Prediction:
    """Return a new dataset of `n_subjects` by `n_workers` workers like those measured.

    The range is that of the shards measured, and at least what a machine varies between two runs.
    """
    sizes = [subjects_per_shard] * (n_subjects // subjects_per_shard)
    sizes += [n_subjects % subjects_per_shard] if n_subjects % subjects_per_shard else []
    mean = sum(measured.subject_s) / len(measured.subject_s)
    start_up_s = measured.driver_s + measured.stage_s + measured.worker_s + measured.warm_s + measured.assemble_s[0]
    n_bytes = measured.subject_bytes * n_subjects
    publish_s = measured.assemble_s[1] * n_subjects + n_bytes / measured.commit_bytes_per_s
    work_s = {
        subject_s: makespan([size * subject_s + measured.between_s for size in sizes], n_workers)
        for subject_s in (mean, min(measured.subject_s), max(measured.subject_s))
    }
    wall_s = start_up_s + work_s[mean] + publish_s
    low_s, high_s = (start_up_s + work_s[limit(measured.subject_s)] + publish_s for limit in (min, max))
    shard_s = subjects_per_shard * mean
    fixed_cpu_s = measured.fixed_cpu_s + measured.warm_s * max(0, n_workers - measured.n_workers)
    return Prediction(
        n_subjects=n_subjects,
        n_shards=len(sizes),
        n_workers=n_workers,
        wall_s=wall_s,
        wall_s_low=min(low_s, wall_s * (1 - SPREAD)),
        wall_s_high=max(high_s, wall_s * (1 + SPREAD)),
        cpu_hours=(measured.subject_cpu_s * n_subjects + measured.shard_cpu_s * len(sizes) + fixed_cpu_s) / 3600,
        gpu_hours=0.0,
        store_bytes=math.ceil(n_bytes),
        disk_bytes=math.ceil(n_bytes * (1 if measured.has_reflinks else N_COPIES)),
        database_bytes=len(sizes) * DATABASE_BYTES,
        start_up_s=start_up_s,
        server_limit_workers=max(1, int(INGEST_PER_S[0] * shard_s)),
        driver_limit_workers=max(1, int(shard_s / HANDING_OUT_S[1])),
    )


def makespan(durations: list[float], n_workers: int) -> float:
    """Return when the last item ends if each free worker takes the next one."""
    free = [0.0] * min(n_workers, len(durations))
    for duration in durations:
        heapq.heappush(free, heapq.heappop(free) + duration)
    return max(free, default=0.0)
