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

DESCRIPTION = """Say why a result would be made again, or that it would not.

Every result in the store has a key: a hash over its stage and VERSION, the settings that matter to it, the content of
its inputs, and device and threads. This works out the keys that params.yaml, the code and the data of now give, and
where the store has no such object, names what differs from the object of the same item that comes nearest."""
EXAMPLES = """examples:
  headforge why synthesize                                all items of a stage
  headforge why 'synthesize/subjects 0-23'                one of them
  headforge why 5                                         the shard and the avatar of subject 000005
  headforge why data/tracked/shards/part-00001.parquet    what that file is made from"""
MAX_NAMES = 4


def add_parser(commands: Commands) -> None:
    """Add `why`."""
    parser = add_command(commands, "why", "say which part of an item's key has changed", DESCRIPTION, EXAMPLES)
    parser.add_argument("item", metavar="ITEM", help="STAGE, STAGE/ITEM, a subject's number or a path under data")


def run(wanted: argparse.Namespace) -> Summary:
    """Explain it."""
    from flows.upkeep.why import why  # all stages come with it

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
            print("  Since then, of what no key counts:")
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
