"""`headforge verify [--repair]`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.run.outcome import EXIT_DONE, EXIT_ITEMS, Rejection
from flows.run.summary import Summary

if TYPE_CHECKING:
    from flows.commands.command import Commands

DESCRIPTION = """Hash every file again: objects and photos in the store, what the stages published (against dvc.lock),
and DVC's cache. Nothing that only looks at sizes and times finds a bit that a disk has flipped; this does.

With --repair a damaged file is replaced by a copy with the right bytes from one of the other places. What has no right
copy is made again, a shard from its own recipe and nothing beside it, anything else by its stage, unless the settings
have changed since. Bad copies are put aside in the folder quarantine, for you to look at."""
EXAMPLES = """examples:
  headforge verify            list what is damaged or missing
  headforge verify --repair   and bring it back

exit codes: 0 everything is as it should be (now); 1 something is not; 2 the project can't be read"""
REPAIR_HELP = "headforge verify --repair brings right copies back, or makes again what has none."
STILL_HELP = "headforge run makes what the project needs now."


def add_parser(commands: Commands) -> None:
    """Add `verify`."""
    parser = add_command(
        commands, "verify", "hash store, workspace and DVC cache again, repair what is bad", DESCRIPTION, EXAMPLES
    )
    parser.add_argument("--repair", action="store_true", help="bring back right copies, or make again what has none")


def run(wanted: argparse.Namespace) -> Summary:
    """Return hash, repair if asked, and say what is damaged."""
    if wanted.repair:
        from flows.upkeep.repair import repair  # settings and engine come with it

        found = repair(Path.cwd())
        for finding in found:
            print(finding)
    else:
        from flows.upkeep.verify import verify  # hashing needs nothing else of this package

        found = verify(Path.cwd())
    bad = [finding for finding in found if not finding.good]
    if not bad:
        print(
            f"verify: {len(found)} repaired, everything is as it should be." if found else "verify: nothing is damaged."
        )
    help = STILL_HELP if wanted.repair else REPAIR_HELP
    return Summary(
        "damaged" if bad else "done",
        EXIT_ITEMS if bad else EXIT_DONE,
        rejected=[Rejection(str(finding.path), str(finding).partition(": ")[2], help) for finding in bad],
        details={"damaged": [finding.as_json() for finding in found]},
    )
