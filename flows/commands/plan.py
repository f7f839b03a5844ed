"""`headforge plan [-S ...] [--subjects N] [--workers W] [--shards 3]`."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.run.summary import Summary

if TYPE_CHECKING:
    from flows.commands.command import Commands
    from flows.upkeep.planning.prediction import Measured, Prediction

EXAMPLES = """examples:
  headforge plan --subjects 10000 --workers 64
  headforge plan -S synthesize.image_size=512 -S synthesize.views_per_subject=60 --subjects 10000"""


def add_parser(commands: Commands) -> None:
    """Add `plan`."""
    parser = add_command(
        commands, "plan", "predict the cost of a dataset from a few shards",
        "Build a few shards that are missing from the store, keep them, and predict time, work and disk of a dataset.",
        EXAMPLES,
    )  # fmt: skip
    parser.add_argument("-S", "--set", action="append", default=[], metavar="section.key=value",
                        help="plan with this value; params.yaml stays as it is; repeatable")  # fmt: skip
    parser.add_argument(
        "--subjects", type=int, metavar="N", help="number of subjects, by default synthesize.n_subjects"
    )
    parser.add_argument("--workers", type=int, metavar="W", help="number of workers, by default engine.workers")
    parser.add_argument("--shards", type=int, default=3, metavar="K", help="number of shards to measure, by default 3")


def run(wanted: argparse.Namespace) -> Summary:
    """Measure a few shards, predict the cost of the dataset, and print it."""
    from flows.upkeep.planning.plan import plan  # imports the settings classes and torch

    measured, prediction = plan(Path.cwd(), wanted.set, wanted.subjects, wanted.workers, wanted.shards)
    for line in described(measured, prediction):
        print(line)
    return Summary(details={"measured": dataclasses.asdict(measured), "prediction": dataclasses.asdict(prediction)})


def described(measured: Measured, p: Prediction) -> list[str]:
    """Return the printed lines."""
    shard_s = sum(measured.subject_s) / len(measured.subject_s) * p.n_subjects / p.n_shards
    mean = "a copy, shared by reflinks" if measured.has_reflinks else "store, workspace and DVC cache"
    return [
        f"{p.n_subjects} subjects in {p.n_shards} shards, {p.n_workers} workers "
        f"(measured: {len(measured.subject_s)} shards, {measured.n_workers} at a time)",
        f"  wall time    {_time(p.wall_s)}, between {_time(p.wall_s_low)} and {_time(p.wall_s_high)}; "
        f"{_time(p.start_up_s)} of it does not grow",
        f"  work         {p.cpu_hours:.3g} processor hours, {p.gpu_hours:.3g} GPU hours",
        f"  disk         {_bytes(p.disk_bytes)} ({mean}); the dataset has {_bytes(p.store_bytes)}",
        f"  Prefect      {p.n_shards} task runs, {_bytes(p.database_bytes)} of database",
        f"  limits       a shard takes {shard_s:.3g} s: with more than about {p.driver_limit_workers} workers one "
        "driver can't hand out shards fast enough,",
        f"               with more than about {p.server_limit_workers} the server can't take in their records; "
        "larger shards (synthesize.subjects_per_shard) move both",
    ]


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
