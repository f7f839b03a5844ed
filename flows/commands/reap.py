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
        commands, "reap", "clear up after runs that were killed",
        "Mark runs as crashed whose process was killed, and end workers that outlived their run. What lives is left\n"
        "alone.",
    )  # fmt: skip


def run(wanted: argparse.Namespace) -> Summary:
    """Clear up and say what was done."""
    quiet_environment()
    from flows.services.reap import reap  # Prefect comes with it

    done = reap()
    print(f"{len(done.runs)} runs and {done.n_task_runs} tasks of theirs are marked as crashed, "
          f"{done.n_records} records as killed; {done.n_processes} orphaned processes ended.")  # fmt: skip
    if done.unknown:
        print(f"left alone, because they belong to other hosts or programs: {', '.join(done.unknown)}")
    return Summary(details=dataclasses.asdict(done))
