"""`headforge gc`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.run.summary import Summary

if TYPE_CHECKING:
    from flows.commands.command import Commands

DESCRIPTION = """Remove what interrupted runs left in the store: work folders, lock files that no process holds,
temporary files not written to for an hour. Files of active runs are kept, and so are checkpoints from which an
interrupted training can resume.

With --unreferenced also remove objects and photos that no project needs. headforge registers each project it runs in;
a project needs the objects that its results were published from, and those that match its params.yaml or dvc.lock, in
the folder and in every commit that a branch, a tag, a stash or a DVC experiment points at. Nothing is removed while a
run is in progress or while one of the projects can't be read. DVC's own cache is left alone: see 'dvc gc --help'."""
EXAMPLES = """examples:
  headforge gc --dry-run                      list what would be removed
  headforge gc                                clean up after interrupted runs
  headforge gc --unreferenced                 also remove results of settings that no project uses any more
  headforge gc --unreferenced --forget PATH   also remove what only the deleted project PATH needed"""


def add_parser(commands: Commands) -> None:
    """Add `gc`."""
    parser = add_command(commands, "gc", "remove unneeded files from the store", DESCRIPTION, EXAMPLES)
    parser.add_argument("--dry-run", action="store_true", help="list what would be removed, and remove nothing")
    parser.add_argument(
        "--unreferenced", action="store_true", help="also remove objects and photos that no project needs"
    )
    parser.add_argument("--checkpoints", action="store_true", help="also remove checkpoints of interrupted runs")
    parser.add_argument("--quarantine", action="store_true", help="also remove what verify --repair put in quarantine")
    parser.add_argument("--forget", action="append", type=Path, default=[], metavar="PATH",
                        help="unregister this project, so that its needs no longer count; repeatable")  # fmt: skip


def run(wanted: argparse.Namespace) -> Summary:
    """Remove the files and print what was removed."""
    from flows.upkeep.gc import GcRequest, collect  # imports a YAML reader

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
        print(f"gc: kept {shown_bytes(sum(kept.values()))} of checkpoints of interrupted runs; "
              "--checkpoints removes them.")  # fmt: skip
    details = {"dry_run": wanted.dry_run, "freed_bytes": freed, "counts": counts, "kept_bytes": sum(kept.values())}
    return Summary(details=details)


def shown_bytes(n_bytes: int) -> str:
    """Return a size such as "12.3 MB"."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes} bytes"
