"""`headforge export DATASET --to FORMAT OUT`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.commands.watching import CommandProgress
from flows.driver import Summary
from headforge.errors import InputError

if TYPE_CHECKING:
    from flows.commands.command import Commands

FORMATS = ("webdataset", "huggingface", "eg3d", "nerfstudio", "colmap", "gaussianavatars")
"""Named here too, so that `--help` needs neither torch nor pyarrow; a test compares."""

EXAMPLES = """examples:
  headforge export data/synthetic --to webdataset heads-wds
  headforge export data/synthetic --to huggingface heads-hf
  headforge export data/synthetic --to nerfstudio person --subject 000042
  headforge export data/synthetic --to gaussianavatars heads-ga --tracks data/tracked

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
    parser.add_argument("--tracks", type=Path, metavar="DIR",
                        help="write these tracks' cameras and head parameters, not the dataset's own")  # fmt: skip
    parser.add_argument("--subject", action="append", default=[], metavar="ID", help="only this person; repeatable")


def run(wanted: argparse.Namespace) -> Summary:
    """Write the folder and say what is in it."""
    from flows.commands.heads import read_head  # torch and pyarrow come with these
    from headforge.store.exchange.export import export_dataset
    from headforge.store.shards import Dataset
    from headforge.store.tables import read_tracks

    dataset = Dataset(wanted.dataset)
    has_head = dataset.head.is_file() and wanted.to in ("colmap", "gaussianavatars")
    head, landmarks = read_head(dataset.head) if has_head else (None, None)
    tracks = None if wanted.tracks is None else read_tracks(require_folder(wanted.tracks))
    with CommandProgress("export") as progress:
        made = export_dataset(
            dataset, wanted.to, wanted.output, wanted.subject, progress, tracks=tracks, head=head, landmarks=landmarks
        )
    print(f"{made.folder}: {made.n_views} pictures of {made.n_subjects} people, {made.n_bytes / 1e6:.1f} MB.")
    if made.n_left_out:
        print(f"{made.n_left_out} pictures without a usable track were left out.")
    details = {"n_subjects": made.n_subjects, "n_views": made.n_views, "n_bytes": made.n_bytes}
    return Summary(details={"output": str(made.folder), "n_left_out": made.n_left_out, **details})


def require_folder(path: Path) -> Path:
    """`path` if it is a folder of tracks. Raises InputError."""
    if not (path / "shards").is_dir():
        raise InputError(path, f"{path} holds no tracks: it has no folder 'shards'.", "give data/tracked, or the like.")
    return path
