"""`headforge verify [--repair]`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.driver import Summary
from flows.outcome import EXIT_DONE, EXIT_ITEMS

if TYPE_CHECKING:
    from flows.commands.command import Commands


def add_parser(commands: Commands) -> None:
    """Add `verify`."""
    parser = add_command(
        commands, "verify", "hash store, workspace and DVC cache again",
        "Hash everything again and list what is damaged.",
    )  # fmt: skip
    parser.add_argument("--repair", action="store_true", help="put bad copies aside and make them again")


def run(wanted: argparse.Namespace) -> Summary:
    """Hash, repair if asked, and say what is damaged."""
    from flows.verify import verify  # hashing needs nothing else of this package

    findings = verify(Path.cwd(), repair=wanted.repair)
    return Summary("damaged" if findings else "done", EXIT_ITEMS if findings else EXIT_DONE, rejected=findings)
