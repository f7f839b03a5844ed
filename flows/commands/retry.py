"""`headforge retry --failed`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.run.summary import Summary

if TYPE_CHECKING:
    from flows.commands.command import Commands

DESCRIPTION = """Retry the items that failed in the last run of a stage: a worker that crashed or ran out of memory, a
full disk. Finished items are found in the store and not built again; then the stage publishes all of them.

Rejected items (no face, a failed gate) did not fail: a rejection is a result, and the same input gives it again."""
EXAMPLES = """examples:
  headforge retry --failed              every stage with failed items
  headforge retry --failed synthesize   one stage

exit codes: 0 no failed items are left; 1 items failed again (listed), or were rejected;
  2 the settings have changed since, so that these items are no longer needed"""
ALL = "all"


def add_parser(commands: Commands) -> None:
    """Add `retry`."""
    parser = add_command(commands, "retry", "retry the items that failed", DESCRIPTION, EXAMPLES)
    parser.add_argument("--failed", nargs="?", default=None, const=ALL, required=True, metavar="STAGE",
                        help="one stage; by default all")  # fmt: skip


def run(wanted: argparse.Namespace) -> Summary:
    """Retry the failed items."""
    from flows.upkeep.retry import retry  # imports the settings classes

    return retry(Path.cwd(), None if wanted.failed == ALL else wanted.failed)
