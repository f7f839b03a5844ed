"""`headforge remake SUBJECT VIEW`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.run.outcome import EXIT_DONE, EXIT_ITEMS
from flows.run.summary import Summary

if TYPE_CHECKING:
    from flows.commands.command import Commands
    from flows.upkeep.remake import Remade

DESCRIPTION = """Render one view of a dataset again, from the settings in its dataset.json alone, and compare it with
the stored one: picture, mask, camera and parameters.

Under the same package versions and instruction set both are equal bit for bit. Otherwise rounding may differ. The
tolerance is half a level of 255 on average, with at most 1 % of the values more than 8 levels apart, and 1e-4 in
cameras (pixels) and parameters. The store records what a shard was made with; for datasets from elsewhere this is
unknown."""
EXAMPLES = """examples:
  headforge remake 12 3                              subject 000012, view 3 of data/synthetic
  headforge remake 12 3 --out view.png               also write the picture
  headforge remake 12 3 --dataset DIR                view of another dataset folder

exit codes: 0 equal, or within tolerance on another machine; 1 different; 2 there is no such view: if a gate rejected
  it, the message says which"""
OUTPUT = Path("data/synthetic")


def add_parser(commands: Commands) -> None:
    """Add `remake`."""
    parser = add_command(commands, "remake", "render one view again and compare it", DESCRIPTION, EXAMPLES)
    parser.add_argument("subject", type=int, metavar="SUBJECT", help="number of the subject, with or without zeros")
    parser.add_argument("view", type=int, metavar="VIEW", help="number of the view")
    parser.add_argument("--dataset", type=Path, metavar="DIR", help="a dataset folder; by default the project's")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="write the remade picture")


def run(wanted: argparse.Namespace) -> Summary:
    """Render the view again and print the comparison."""
    from flows.project.project import find_root
    from flows.upkeep.remake import remake  # imports the generator

    dataset = wanted.dataset or find_root(Path.cwd()) / OUTPUT
    remade = remake(dataset, wanted.subject, wanted.view, wanted.out)
    found = remade.comparison
    print(f"{wanted.subject:06d}/{wanted.view}: {_said(remade)}")
    details = {
        "equal": found.is_equal, "close": found.is_close, "differing": list(found.differing),
        "mean_levels": found.mean_levels, "max_levels": found.max_levels, "share": found.share,
        "max_parameter": found.max_parameter, "made_with": remade.others,
    }  # fmt: skip
    good = remade.is_good
    return Summary("done" if good else "different", EXIT_DONE if good else EXIT_ITEMS, details=details)


def _said(remade: Remade) -> str:
    found = remade.comparison
    if found.is_equal:
        return "equal bit for bit."
    names = ", ".join(found.differing)
    size = f"{found.mean_levels:.3g} levels on average, {found.max_levels} at most, {found.share:.2%} of values by more"
    state = "close, as on another machine" if found.is_close else "DIFFERENT"
    if remade.others is None:
        why = "the store has no record of what the stored one was made with"
    elif remade.others:
        why = "then and now: " + ", ".join(f"{name} {then} -> {now}" for name, (then, now) in remade.others.items())
    else:
        why = "package versions and instruction set are the same, so the stored picture is damaged: headforge verify"
    return f"{state}: {names} ({size}).\n  {why}."
