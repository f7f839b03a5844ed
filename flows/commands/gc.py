"""`headforge gc`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.run.summary import Summary

if TYPE_CHECKING:
    from flows.commands.command import Commands

DESCRIPTION = """Remove what runs that ended in the middle left in the store: their work folders, lock files that nobody
holds, temporary files that nobody has written to for an hour. What a run that goes on holds stays, and so do
checkpoints that an interrupted training goes on from.

With --unreferenced also objects and photos that no project needs. headforge notes every project it runs in; needed is
what a project's results were published from, and whatever agrees with its params.yaml or its dvc.lock, in the folder
and in every commit that a branch, a tag, a stash or a DVC experiment points at. Nothing is removed while a run is in
progress or while one of the projects can't be read. DVC's own cache is DVC's: see 'dvc gc --help'."""
EXAMPLES = """examples:
  headforge gc --dry-run                      say what would go
  headforge gc                                clear up after interrupted runs
  headforge gc --unreferenced                 also drop results of settings that nothing names any more
  headforge gc --unreferenced --forget PATH   the project PATH is gone for good; what only it needs goes too"""


def add_parser(commands: Commands) -> None:
    """Add `gc`."""
    parser = add_command(commands, "gc", "remove what nobody needs from the store", DESCRIPTION, EXAMPLES)
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    parser.add_argument("--unreferenced", action="store_true", help="also objects and photos that no project needs")
    parser.add_argument("--checkpoints", action="store_true", help="also what interrupted runs could go on from")
    parser.add_argument("--quarantine", action="store_true", help="also what verify --repair put aside")
    parser.add_argument("--forget", action="append", type=Path, default=[], metavar="PATH",
                        help="don't ask what this project needs, now and later; repeatable")  # fmt: skip


def run(wanted: argparse.Namespace) -> Summary:
    """Clear up, and say what went."""
    from flows.upkeep.gc import GcRequest, collect  # a YAML reader comes with it

    names = ("dry_run", "unreferenced", "checkpoints", "quarantine", "forget")
    cleared, kept = collect(GcRequest(**{name: getattr(wanted, name) for name in names}), Path.cwd())
    for item in cleared:
        if item.n_bytes:
            print(f"{item.kind} {item.path}: {shown_bytes(item.n_bytes)}")
    counts: dict[str, int] = {}
    for item in cleared:
        counts[item.kind] = counts.get(item.kind, 0) + 1
    freed = sum(item.n_bytes for item in cleared)
    what = ", ".join(f"{n} {kind}{'s' * (n != 1)}" for kind, n in counts.items()) or "nothing"
    print(f"gc: {'would free' if wanted.dry_run else 'freed'} {shown_bytes(freed)} ({what}).")
    if kept:
        print(f"gc: kept {shown_bytes(sum(kept.values()))} of checkpoints that interrupted runs go on from; "
              "--checkpoints removes them.")  # fmt: skip
    details = {"dry_run": wanted.dry_run, "freed_bytes": freed, "counts": counts, "kept_bytes": sum(kept.values())}
    return Summary(details=details)


def shown_bytes(n_bytes: int) -> str:
    """Return such as "12.3 MB"."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes} bytes"
