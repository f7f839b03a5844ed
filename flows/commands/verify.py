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

DESCRIPTION = """Hash all files again: objects and photos in the store, published outputs (against dvc.lock), and DVC's
cache. This finds bits flipped by a disk, which checks of size and time miss.

With --repair a damaged file is replaced by an intact copy from one of the other places. Without an intact copy it is
rebuilt: a shard from its own recipe alone, other files by their stage, unless the settings have changed since. Damaged
copies are moved to the folder quarantine for inspection."""
EXAMPLES = """examples:
  headforge verify            list what is damaged or missing
  headforge verify --repair   also restore it

exit codes: 0 everything is intact (now); 1 something is damaged; 2 the project can't be read"""
REPAIR_HELP = "headforge verify --repair restores intact copies, or rebuilds files without one."
STILL_HELP = "headforge run builds what the project needs now."


def add_parser(commands: Commands) -> None:
    """Add `verify`."""
    parser = add_command(
        commands, "verify", "hash store, workspace and DVC cache again, repair damage", DESCRIPTION, EXAMPLES
    )
    parser.add_argument("--repair", action="store_true", help="restore intact copies, or rebuild files without one")


def run(wanted: argparse.Namespace) -> Summary:
    """Hash everything, repair if asked, and list what is damaged."""
    if wanted.repair:
        from flows.upkeep.repair import repair  # imports settings and engine

        found = repair(Path.cwd())
        for finding in found:
            print(finding)
    else:
        from flows.upkeep.verify import verify  # hashing needs few imports

        found = verify(Path.cwd())
    bad = [finding for finding in found if not finding.good]
    if not bad:
        print(f"verify: {len(found)} repaired, everything is intact." if found else "verify: nothing is damaged.")
    help = STILL_HELP if wanted.repair else REPAIR_HELP
    return Summary(
        "damaged" if bad else "done",
        EXIT_ITEMS if bad else EXIT_DONE,
        rejected=[Rejection(str(finding.path), str(finding).partition(": ")[2], help) for finding in bad],
        details={"damaged": [finding.as_json() for finding in found]},
    )
