"""`headforge inspect PATH`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.run.summary import Summary

if TYPE_CHECKING:
    from flows.commands.command import Commands


def add_parser(commands: Commands) -> None:
    """Add `inspect`."""
    parser = add_command(
        commands, "inspect", "describe a file or folder", "Describe a file or folder as JSON.",
    )  # fmt: skip
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="a dataset, shard, model, avatar, metrics file or picture"
    )


def run(wanted: argparse.Namespace) -> Summary:
    """Print the description."""
    from flows.upkeep.inspect import describe  # imports pyarrow

    print(json.dumps(describe(wanted.path), indent=None if wanted.json else 1, default=str))
    return Summary()
