"""`headforge why ITEM`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.run.summary import Summary

if TYPE_CHECKING:
    from flows.commands.command import Commands
    from flows.upkeep.why import Explanation

DESCRIPTION = """Explain why a result would be rebuilt, or say that it would not.

Each result in the store has a key: a hash of its stage and VERSION, the settings it depends on, the content of its
inputs, and device and threads. This command computes the keys from the current params.yaml, code and data. If the
store has no object with such a key, it lists the differences from the nearest object of the same item."""
EXAMPLES = """examples:
  headforge why synthesize                                all items of a stage
  headforge why 'synthesize/subjects 0-23'                one of them
  headforge why 5                                         the shard and the avatar of subject 000005
  headforge why data/tracked/shards/part-00001.parquet    the item that file is published from"""
MAX_NAMES = 4


def add_parser(commands: Commands) -> None:
    """Add `why`."""
    parser = add_command(commands, "why", "show which part of an item's key has changed", DESCRIPTION, EXAMPLES)
    parser.add_argument("item", metavar="ITEM", help="STAGE, STAGE/ITEM, a subject's number or a path under data")


def run(wanted: argparse.Namespace) -> Summary:
    """Print the explanation of an item."""
    from flows.upkeep.why import why  # imports all stages

    found, limit = why(Path.cwd(), wanted.item)
    groups: dict[tuple[object, ...], list[Explanation]] = {}
    for one in found:
        same = (bool(one.made_on), one.is_intact, one.nearest is None, tuple(map(str, one.differences)))
        groups.setdefault(same, []).append(one)
    for group in groups.values():
        _print(group)
    if limit:
        print(f"note: {limit}.")
    return Summary(details={"items": [_as_json(one) for one in found]})


def _print(group: list[Explanation]) -> None:
    one = group[0]
    names = ", ".join(other.item for other in group[:MAX_NAMES])
    names += f" and {len(group) - MAX_NAMES} more" if len(group) > MAX_NAMES else ""
    if one.made_on:
        state = "in the store" if one.is_intact else "in the store, DAMAGED (headforge verify --repair)"
        print(f"{names}: {state}, made on {max(other.made_on for other in group)}.")
        if one.differences:
            print("  Changed since then, but not part of the key:")
    elif one.nearest is None:
        print(f"{names}: not in the store, and nothing else of this stage is.")
    else:
        print(
            f"{names}: not in the store. The nearest object, of {one.nearest.note.label or 'an unnamed item'}, differs:"
        )
    for difference in one.differences:
        print(f"  {difference}")


def _as_json(one: Explanation) -> dict[str, object]:
    return {
        "item": one.item, "key": one.key, "in_store": bool(one.made_on), "made_on": one.made_on,
        "intact": one.is_intact, "nearest": one.nearest.key if one.nearest else None,
        "differences": [{"leaf": d.leaf, "then": d.then, "now": d.now} for d in one.differences],
    }  # fmt: skip
