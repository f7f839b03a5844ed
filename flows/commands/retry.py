"""`headforge retry --failed`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.run.summary import Summary

if TYPE_CHECKING:
    from flows.commands.command import Commands

DESCRIPTION = """Redo the items that failed the last time a stage ran: a worker that crashed or ran out of memory, a
disk that was full. What ended well is kept in the store and is not made again; then the stage publishes all of it.

Rejected items (no face, a failed gate) did not fail: they are a result, and the same input gives the same again."""
EXAMPLES = """examples:
  headforge retry --failed              every stage with failed items
  headforge retry --failed synthesize   one stage

exit codes: 0 nothing is left to redo; 1 items failed again (listed), or were rejected;
  2 the settings have changed since, so that these items are wanted no more"""
ALL = "all"


def add_parser(commands: Commands) -> None:
    """Add `retry`."""
    parser = add_command(commands, "retry", "redo what failed last time", DESCRIPTION, EXAMPLES)
    parser.add_argument("--failed", nargs="?", default=None, const=ALL, required=True, metavar="STAGE",
                        help="the stage, or all of them")  # fmt: skip


def run(wanted: argparse.Namespace) -> Summary:
    """Return redo it."""
    from flows.upkeep.retry import retry  # the settings come with it

    return retry(Path.cwd(), None if wanted.failed == ALL else wanted.failed)
