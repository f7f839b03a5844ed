"""`headforge reap`."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.project.project import quiet_environment
from flows.run.summary import Summary

if TYPE_CHECKING:
    from flows.commands.command import Commands


def add_parser(commands: Commands) -> None:
    """Add `reap`."""
    add_command(
        commands, "reap", "clean up after killed runs",
        "Mark runs whose process was killed as crashed, and end workers that outlived their run. Active runs are not\n"
        "touched.",
    )  # fmt: skip


def run(wanted: argparse.Namespace) -> Summary:
    """Clean up and print what was done."""
    quiet_environment()
    from flows.services.reap import reap  # imports Prefect

    done = reap()
    print(f"{len(done.runs)} runs and {done.n_task_runs} of their tasks are marked as crashed, "
          f"{done.n_records} records as killed; {done.n_processes} orphaned processes ended.")  # fmt: skip
    if done.unknown:
        print(f"not touched, because they belong to other hosts or programs: {', '.join(done.unknown)}")
    return Summary(details=dataclasses.asdict(done))
