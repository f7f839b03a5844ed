"""`headforge plan`: measure a few shards with the real code, and predict what a dataset of any size takes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.project.params import PARAMS_FILE, change_params, preview_params
from flows.project.project import PARENT_RUN_VARIABLE, find_root, home, only_run, quiet_environment, require_space
from flows.services.dvc_calls import changed_stages
from flows.upkeep.planning.prediction import Measured, Prediction, predict
from headforge.errors import ConfigError, HeadforgeError
from headforge.store.objects.publish import clone_or_copy

LOCAL = ("engine.profile=local", "engine.gpus=0", "engine.scheduler_address=''")
"""Shards are measured on this machine, whatever engine the run will have."""


@dataclass(frozen=True)
class Clock:
    """What was measured outside the stage's process."""

    driver_s: float
    stage_end_s: float
    """From the stage's last word to the end of its process."""
    cpu_s: float
    """Processor seconds of everything."""
    commit_bytes_per_s: float


class MeasureError(HeadforgeError):
    """The shards that were to be measured could not be made."""


def plan(
    start: Path, assignments: Sequence[str], n_subjects: int | None, n_workers: int | None, n_shards: int
) -> tuple[Measured, Prediction]:
    """Measure `n_shards` shards that the store lacks, with the settings as they would be, and predict a run.

    Raises ConfigError for numbers below 1.
    """
    for name, value in (("subjects", n_subjects), ("workers", n_workers), ("shards", n_shards)):
        if value is not None and value < 1:
            raise ConfigError(name, value, f"--{name} is {value}.", f"give --{name} of 1 or more.")
    root = find_root(start)
    quiet_environment()
    require_space(root, home())
    settings = preview_params(root, assignments=assignments)
    workers = n_workers or settings["engine"].n_processes
    with only_run(root):
        measured = _measure(root, assignments, min(workers, _n_cores(), n_shards), n_shards)
    config = settings["synthesize"]
    return measured, predict(measured, n_subjects or config.n_subjects, config.subjects_per_shard, workers)


def _n_cores() -> int:
    return len(os.sched_getaffinity(0))


def _measure(root: Path, assignments: Sequence[str], n_workers: int, n_shards: int) -> Measured:
    """Time what `headforge synthesize` does, with a scratch project in place of DVC's part."""
    start = time.monotonic()
    changed_stages(root)
    dvc_s = time.monotonic() - start
    with _scratch(root, [*assignments, *LOCAL, f"engine.workers={n_workers}"]) as scratch:
        start = time.monotonic()
        from flows.run.chain import prefect_server  # what the command loads counts
        from flows.services.records import RunRecord

        with prefect_server(), RunRecord("plan", root, {"settings": " ".join(assignments)}) as record:
            driver_s = time.monotonic() - start
            found, stage_end_s = _run(root, scratch, n_shards, record.run_id)
            record.succeed()
            start = time.monotonic()
        driver_s += time.monotonic() - start
        # DVC is asked twice: what has changed, and to run the stage.
        clock = Clock(driver_s + 2 * dvc_s, stage_end_s, _cpu_s() + dvc_s, _commit_rate(scratch))
        return measured_of(found, clock, n_workers, has_reflinks=has_reflinks(root))


def _run(root: Path, scratch: Path, n_shards: int, record: str) -> tuple[dict[str, Any], float]:
    environment = dict(os.environ) | {PARENT_RUN_VARIABLE: record}
    command = [sys.executable, "-m", "flows.upkeep.planning.measure", str(scratch), str(n_shards)]
    done = subprocess.run(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise MeasureError(f"the shards could not be made: {said[0]}", "run 'headforge synthesize', which says more.")
    end_s = time.time()
    found = json.loads((scratch / "measured.json").read_text())
    return found, end_s - found["end_s"]


def _cpu_s() -> float:
    """Processor seconds of this process and of those it started that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measured_of(found: Mapping[str, Any], clock: Clock, n_workers: int, *, has_reflinks: bool) -> Measured:
    """Return the measurements of `flows.upkeep.planning.measure` in the form that the model needs."""
    items, sizes = found["items"], found["n_subjects"]
    n_subjects = sum(sizes)
    cpu_s = sum(item["cpu_s"] for item in items)
    slope = 0.0
    if len(sizes) > 1:
        slope = max(0.0, (found["assemble_all_s"] - found["assemble_one_s"]) / (n_subjects - sizes[0]))
    between = [
        after["begin_s"] - before["end_s"]
        for _, group in itertools.groupby(sorted(items, key=lambda i: (i["process"], i["begin_s"])), _process_of)
        for before, after in itertools.pairwise(group)
    ]
    return Measured(
        driver_s=clock.driver_s,
        stage_s=found["begin_s"] - found["created_s"] + clock.stage_end_s,
        worker_s=items[0]["begin_s"] - found["handed_out_s"],
        warm_s=max(item["warm_s"] for item in items),
        subject_s=tuple(item["work_s"] / sizes[0] for item in items),
        subject_cpu_s=cpu_s / n_subjects,
        shard_cpu_s=found["build_cpu_s"] / len(items),
        fixed_cpu_s=max(0.0, clock.cpu_s - cpu_s - found["build_cpu_s"]),
        between_s=sum(between) / len(between) if between else 0.0,
        assemble_s=(max(0.0, found["assemble_one_s"] - slope * sizes[0]), slope),
        subject_bytes=found["n_bytes"] / n_subjects,
        commit_bytes_per_s=clock.commit_bytes_per_s,
        n_workers=n_workers,
        has_reflinks=has_reflinks,
    )


def _process_of(item: Mapping[str, Any]) -> int:
    return item["process"]


@contextlib.contextmanager
def _scratch(root: Path, assignments: Sequence[str]) -> Iterator[Path]:
    """Provide a folder on the project's disk with the settings to measure."""
    parent = root / ".dvc" / "tmp" / "headforge"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="plan-", dir=parent))
    try:
        shutil.copy(root / PARAMS_FILE, folder)
        change_params(folder, assignments=assignments)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _commit_rate(scratch: Path) -> float:
    """Bytes per second of what DVC does with an output: hash every file, copy it to the cache."""
    from flows.upkeep.verify import md5_file

    files = [path for path in (scratch / "all").rglob("*.parquet")]
    start = time.monotonic()
    for number, path in enumerate(files):
        md5_file(path)
        clone_or_copy(path, scratch / f"copy-{number}")
    return max(1.0, sum(path.stat().st_size for path in files)) / max(1e-6, time.monotonic() - start)


def has_reflinks(root: Path) -> bool:
    """Return whether files of the store are published without copying their bytes."""
    source, target = home() / f".clone-{os.getpid()}", root / ".dvc" / "tmp" / f".clone-{os.getpid()}"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.write_bytes(bytes(4096))
        return clone_or_copy(source, target)
    finally:
        source.unlink(missing_ok=True)
        target.unlink(missing_ok=True)
