"""`headforge import PATH --from FORMAT OUT`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.driver import Summary
from flows.outcome import EXIT_DONE, EXIT_ITEMS, Rejection

if TYPE_CHECKING:
    from flows.commands.command import Commands

FORMATS = ("eg3d", "nerfstudio")
"""Named here too, so that `--help` needs neither torch nor pyarrow; a test compares."""
REJECTS_HELP = "the rest was taken; rejects.parquet in the new folder lists these."

EXAMPLES = """examples:
  headforge import ffhq/dataset.json --from eg3d heads --source real --licence "CC BY-NC-SA 4.0"
  headforge import captures --from nerfstudio heads --source real

OUT is a dataset as 'headforge synthesize' makes one, without head parameters, which nobody stated. A picture that can't
be taken is listed with its reason, and the rest goes on. What headforge exported comes back with all its values."""


def add_parser(commands: Commands) -> None:
    """Add `import`."""
    parser = add_command(
        commands, "import", "make a dataset of another program's pictures and cameras",
        "Make a dataset of pictures and the cameras in EG3D's dataset.json or nerfstudio's transforms.json.", EXAMPLES,
    )  # fmt: skip
    parser.add_argument("path", type=Path, metavar="PATH", help="dataset.json, transforms.json, or a folder of them")
    parser.add_argument("--from", required=True, choices=FORMATS, dest="kind", help="the format")
    parser.add_argument("output", type=Path, metavar="OUT", help="a folder that does not exist yet, or is empty")
    parser.add_argument("--source", required=True, choices=("real", "synthetic"), help="what the pictures are")
    parser.add_argument("--licence", default="not stated", metavar="TEXT", help="licence of the pictures")
    parser.add_argument("--images", type=Path, metavar="DIR", help="where the names in the file start; default: there")
    parser.add_argument("--masks", type=Path, metavar="DIR", help="gray pictures of the same names, 255 = foreground")
    parser.add_argument("--by-folder", action="store_true", help="eg3d: all pictures of a folder show one person")
    parser.add_argument("--heldout-every", type=int, default=6, metavar="N",
                        help="one person in N, picked by hash, is kept for the test split; default: 6")  # fmt: skip


def run(wanted: argparse.Namespace) -> Summary:
    """Make the dataset and list what could not be taken."""
    from headforge.store.exchange.importing import IMPORTS, ImportConfig  # torch and pyarrow come with it

    config = ImportConfig(
        source=wanted.source, licence=wanted.licence, heldout_every=wanted.heldout_every, by_folder=wanted.by_folder
    )
    made = IMPORTS[wanted.kind](config, wanted.path, wanted.output, wanted.images, wanted.masks)
    print(f"{made.folder}: {made.n_views} pictures of {made.n_subjects} people.")
    rejected = [Rejection(reject.item, reject.reason, REJECTS_HELP) for reject in made.rejects]
    details = {"output": str(made.folder), "n_subjects": made.n_subjects, "n_views": made.n_views}
    return Summary(exit_code=EXIT_ITEMS if rejected else EXIT_DONE, rejected=rejected, details=details)
