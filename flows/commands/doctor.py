"""`headforge doctor [--schedule]`."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.run.outcome import EXIT_DONE, EXIT_INPUT, EXIT_ITEMS
from flows.run.summary import Summary

if TYPE_CHECKING:
    from flows.commands.command import Commands


def add_parser(commands: Commands) -> None:
    """Add `doctor`."""
    parser = add_command(
        commands, "doctor", "check the environment that runs depend on",
        "Check versions, disk, clock, git, DVC, processor, weights of other projects, GPUs and Prefect,\n"
        "and say how to fix what is wrong.\n"
        "Exit code 0: all is well; 1: it works, with limits; 2: something does not work.",
    )  # fmt: skip
    parser.add_argument("--schedule", action="store_true", help="also wait for a scheduled run to start")


def run(wanted: argparse.Namespace) -> Summary:
    """Run the checks and print each finding as it comes."""
    from flows.upkeep.health.checks import BAD, LIMIT
    from flows.upkeep.health.doctor import examine  # each check imports what it examines

    findings = []
    for finding in examine(Path.cwd(), schedule=wanted.schedule):
        findings.append(finding)
        print(f"{finding.level:<5} {finding.check}: {finding.found}", flush=True)
        if finding.fix:
            print(f"      fix: {finding.fix}", flush=True)
    levels = {finding.level for finding in findings}
    exit_code = EXIT_INPUT if BAD in levels else EXIT_ITEMS if LIMIT in levels else EXIT_DONE
    status = "bad" if BAD in levels else "limited" if LIMIT in levels else "done"
    return Summary(status, exit_code, details={"findings": [dataclasses.asdict(finding) for finding in findings]})
