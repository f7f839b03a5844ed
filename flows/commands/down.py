"""`headforge down [--wait SECONDS] [--now]`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.project.project import quiet_environment
from flows.run.summary import Summary

if TYPE_CHECKING:
    from flows.commands.command import Commands


WAIT_S = 30.0


def add_parser(commands: Commands) -> None:
    """Add `down`."""
    parser = add_command(
        commands, "down", "stop what 'headforge up' started",
        "Stop the server and the worker that 'headforge up' started, after the runs in progress.",
    )  # fmt: skip
    parser.add_argument("--wait", type=float, default=WAIT_S, metavar="SECONDS",
                        help=f"how long to wait for runs in progress, by default {WAIT_S:.0f}")  # fmt: skip
    parser.add_argument("--now", action="store_true", help="interrupt scheduled runs; finished work is kept")


def run(wanted: argparse.Namespace) -> Summary:
    """Wait, stop, and say what was stopped."""
    quiet_environment()
    from flows.services.up import down  # Prefect comes with it

    stopped = down(wanted.wait, now=wanted.now)
    print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was up")
    return Summary(details={"stopped": stopped})
