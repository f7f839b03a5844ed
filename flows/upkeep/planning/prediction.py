"""Prediction of a dataset's cost from a few measured shards, with start-up separate from work."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

INGEST_PER_S = (70.0, 100.0)
"""Task runs that Prefect's server can record per second (3.8.8, SQLite, 2 cores; measured)."""
HANDING_OUT_S = (0.044, 0.13)
"""Seconds a driver needs to send an item to a worker and receive its answer (process pool and Dask; measured)."""
DATABASE_BYTES = 20_000
"""Size of one task run in Prefect's database."""
SPREAD = 0.1
"""Least relative variation between two runs on the same machine."""
N_COPIES = 3
"""Copies of the dataset: store, workspace and DVC's cache."""


@dataclass(frozen=True)
class Measured:
    """Measured cost of a few shards. Seconds are wall time unless stated otherwise."""

    driver_s: float
    """Start and end of the command: imports, DVC's status, Prefect's server."""
    stage_s: float
    """Start and end of the stage's own process."""
    worker_s: float
    """Time from sending the first item to its start in a worker."""
    warm_s: float
    """Warm-up of each worker."""
    subject_s: tuple[float, ...]
    """Work per subject, for each measured shard."""
    subject_cpu_s: float
    """Processor seconds per subject."""
    shard_cpu_s: float
    """Processor seconds of the driver per shard: sending it, storing it, reporting it."""
    fixed_cpu_s: float
    """Processor seconds of everything independent of the size."""
    between_s: float
    """Pause between two items of a worker."""
    assemble_s: tuple[float, float]
    """Assembly of the dataset: fixed part, and part per subject."""
    subject_bytes: float
    commit_bytes_per_s: float
    """Speed at which DVC hashes the dataset and copies it into its cache."""
    n_workers: int
    """Number of concurrent workers."""
    has_reflinks: bool


@dataclass(frozen=True)
class Prediction:
    """Predicted cost of a run."""

    n_subjects: int
    n_shards: int
    n_workers: int
    wall_s: float
    wall_s_low: float
    wall_s_high: float
    cpu_hours: float
    gpu_hours: float
    """0: the builtin generator runs on the CPU."""
    store_bytes: int
    """Size of one copy."""
    disk_bytes: int
    """Store, workspace and DVC's cache together."""
    database_bytes: int
    """Growth of Prefect's database."""
    start_up_s: float
    """Part of the wall time that is independent of the size of the dataset."""
    server_limit_workers: int
    """Number of workers at which the server's rate of recording task runs becomes the bottleneck."""
    driver_limit_workers: int
    """Number of workers at which the driver's rate of sending items becomes the bottleneck."""


def predict(measured: Measured, n_subjects: int, subjects_per_shard: int, n_workers: int) -> Prediction:
    """Predict the cost of a new dataset of `n_subjects` with `n_workers` workers like those measured.

    The range is that of the measured shards, and at least the variation between two runs on one machine.
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
    """Return the end time of the last item if each free worker takes the next one."""
    free = [0.0] * min(n_workers, len(durations))
    for duration in durations:
        heapq.heappush(free, heapq.heappop(free) + duration)
    return max(free, default=0.0)
