"""`headforge export DATASET --to FORMAT OUT`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.driver import Summary

if TYPE_CHECKING:
    from flows.commands.command import Commands

FORMATS = ("webdataset", "huggingface", "eg3d", "nerfstudio")
"""Named here too, so that `--help` needs neither torch nor pyarrow; a test compares."""

EXAMPLES = """examples:
  headforge export data/synthetic --to webdataset heads-wds
  headforge export data/synthetic --to huggingface heads-hf
  headforge export data/synthetic --to nerfstudio person --subject 000042

OUT appears whole or not at all, with provenance.json: licences, settings, whether the pictures are synthetic."""


def add_parser(commands: Commands) -> None:
    """Add `export`."""
    parser = add_command(
        commands, "export", "write a dataset in another program's format",
        "Write a dataset, or some of its people, as a new folder in another program's format.", EXAMPLES,
    )  # fmt: skip
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="a dataset's folder, such as data/synthetic")
    parser.add_argument("--to", required=True, choices=FORMATS, help="the format")
    parser.add_argument("output", type=Path, metavar="OUT", help="a folder that does not exist yet, or is empty")
    parser.add_argument("--subject", action="append", default=[], metavar="ID", help="only this person; repeatable")


def run(wanted: argparse.Namespace) -> Summary:
    """Write the folder and say what is in it."""
    from headforge.store.exchange.export import export_dataset  # torch and pyarrow come with it
    from headforge.store.shards import Dataset

    made = export_dataset(Dataset(wanted.dataset), wanted.to, wanted.output, wanted.subject)
    print(f"{made.folder}: {made.n_views} pictures of {made.n_subjects} people, {made.n_bytes / 1e6:.1f} MB.")
    details = {"n_subjects": made.n_subjects, "n_views": made.n_views, "n_bytes": made.n_bytes}
    return Summary(details={"output": str(made.folder), **details})
