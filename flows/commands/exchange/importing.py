"""`headforge import PATH --from FORMAT OUT`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.commands.exchange.watching import CommandProgress
from flows.run.outcome import EXIT_DONE, EXIT_ITEMS, Rejection
from flows.run.summary import Summary
from headforge.errors import HeadforgeError, InputError

if TYPE_CHECKING:
    from flows.commands.command import Commands
    from headforge.store.exchange.importing import Imported

FORMATS = ("eg3d", "nerfstudio", "colmap", "gaussianavatars")
"""Formats with pictures; a copy of the names, so that `--help` imports neither torch nor pyarrow; a test compares."""
HEAD_FORMAT = "gaussianavatars"
"""The only one with head parameters."""
TRACK_FORMAT = "vhap"
REJECTS_HELP = "the others were imported; rejects.parquet in the new folder lists these."
CHECK_PICTURE = "camera_check.png"

EXAMPLES = """examples:
  headforge import ffhq/dataset.json --from eg3d heads --source real --licence "CC BY-NC-SA 4.0"
  headforge import captures --from nerfstudio heads --source real
  headforge import scans --from colmap heads --source real
  headforge import 306_EMO-1_v16 --from gaussianavatars heads --source real --head flame2023.safetensors
  headforge import tracked_flame_params_30.npz --from vhap tracks --source real --head flame2023.safetensors

OUT is a dataset as 'headforge synthesize' makes one; head parameters are known where the format has them
(gaussianavatars, with --head). Rejected pictures are listed with their reasons, and the others are imported. An
export of headforge keeps all its values. 'vhap' gives tracks, not pictures.

The cameras are checked against the faces in some pictures (extra 'photos'): flipped axes, inverted matrices and
intrinsics in other units are reported with a fix; OUT/camera_check.png shows the result."""


def add_parser(commands: Commands) -> None:
    """Add `import`."""
    parser = add_command(
        commands, "import", "import pictures and cameras of another program",
        "Import pictures and cameras of another program as a dataset, or tracks of another tracker.", EXAMPLES,
    )  # fmt: skip
    parser.add_argument("path", type=Path, metavar="PATH", help="the format's file, or a folder with one or several")
    parser.add_argument("--from", required=True, choices=(*FORMATS, TRACK_FORMAT), dest="kind", help="the format")
    parser.add_argument("output", type=Path, metavar="OUT", help="a folder that does not exist yet, or is empty")
    parser.add_argument("--source", required=True, choices=("real", "synthetic"), help="source of the pictures")
    parser.add_argument("--licence", default="not stated", metavar="TEXT", help="licence of the pictures")
    parser.add_argument("--images", type=Path, metavar="DIR", help="where the names in the file start; default: there")
    parser.add_argument("--masks", type=Path, metavar="DIR", help="gray pictures of the same names, 255 = foreground")
    parser.add_argument("--by-folder", action="store_true", help="eg3d: all pictures of a folder show one person")
    parser.add_argument("--head", type=Path, metavar="FILE",
                        help="gaussianavatars, vhap: the head model (safetensors) of the FLAME parameters")  # fmt: skip
    parser.add_argument("--subject", default="subject", metavar="ID", help="vhap: subject of the tracks")
    parser.add_argument("--cameras", default="as_stated", metavar="NAME",
                        help="camera convention, as the check names it; default: as_stated")  # fmt: skip
    parser.add_argument("--no-camera-check", action="store_true", help="don't look for faces in the pictures")
    parser.add_argument("--heldout-every", type=int, default=6, metavar="N",
                        help="one subject in N, chosen by hash, goes to the test split; default: 6")  # fmt: skip


def run(wanted: argparse.Namespace) -> Summary:
    """Import the dataset, list rejected pictures, and report whether the cameras agree with the faces."""
    if wanted.kind == TRACK_FORMAT:
        return _run_tracks(wanted)
    made = _import(wanted)
    print(f"{made.folder}: {made.n_views} pictures of {made.n_subjects} subjects.")
    rejected = [Rejection(reject.item, reject.reason, REJECTS_HELP) for reject in made.rejects]
    details: dict[str, object] = {
        "output": str(made.folder), "n_subjects": made.n_subjects, "n_views": made.n_views,
    }  # fmt: skip
    if not wanted.no_camera_check:
        found, verdict = _check_cameras(made.folder, wanted)
        rejected += found
        details["cameras"] = verdict
    return Summary(exit_code=EXIT_ITEMS if rejected else EXIT_DONE, rejected=rejected, details=details)


def _import(wanted: argparse.Namespace) -> Imported:
    from flows.commands.exchange.heads import read_head  # these import torch and pyarrow
    from headforge.store.exchange.importing import import_dataset
    from headforge.store.exchange.source import ImportConfig, ImportSource

    config = ImportConfig(
        source=wanted.source, licence=wanted.licence, heldout_every=wanted.heldout_every, by_folder=wanted.by_folder,
        cameras=wanted.cameras,
    )  # fmt: skip
    head_file = wanted.head if wanted.kind == HEAD_FORMAT else None
    head = None if head_file is None else read_head(head_file)[0]
    source = ImportSource(wanted.path, wanted.images, wanted.masks, head, head_file)
    with CommandProgress("import") as progress:
        return import_dataset(wanted.kind, config, source, wanted.output, progress)


def _check_cameras(folder: Path, wanted: argparse.Namespace) -> tuple[list[Rejection], str]:
    """Check the cameras against faces; return errors and the verdict."""
    from headforge.flame.builtin.head import builtin_head
    from headforge.flame.files import load_head
    from headforge.priors.faces.dlib_faces import DlibFaces
    from headforge.store.dataset.shards import Dataset
    from headforge.track.views.camera_check import check_dataset_cameras

    try:
        dataset = Dataset(folder)
        head = load_head(dataset.head) if dataset.head.is_file() else builtin_head()
        report = check_dataset_cameras(dataset, head, DlibFaces(), folder / CHECK_PICTURE)
    except HeadforgeError as error:
        print(f"cameras not checked: {error.message}")
        return [], "not checked"
    check = report.check
    world = "" if check.world is None or not check.world.warning else f" Their world: {check.world.warning}."
    print(f"cameras, from {report.n_faces} faces: {check.message}{world} See {folder / CHECK_PICTURE}.")
    if check.is_fine:
        return [], check.verdict
    if check.verdict == "unclear":
        return [Rejection("cameras", check.message, f"see {folder / CHECK_PICTURE}.")], check.verdict
    again = f"import again into another folder with --cameras {check.verdict}"
    before = "" if wanted.cameras == "as_stated" else f" instead of --cameras {wanted.cameras}"
    return [Rejection("cameras", check.message, f"{again}{before}.")], check.verdict


def _run_tracks(wanted: argparse.Namespace) -> Summary:
    from flows.commands.exchange.heads import read_head
    from headforge.store.exchange.formats.vhap import import_vhap_tracks

    if wanted.head is None:
        raise InputError(wanted.path, "VHAP's file does not name the head model of its parameters.",
                         "give it: --head flame2023.safetensors.")  # fmt: skip
    with CommandProgress("import") as progress:
        made = import_vhap_tracks(wanted.path, wanted.output, read_head(wanted.head)[0], wanted.subject, progress)
    print(f"{made.folder}: tracks of {made.n_views} pictures.")
    return Summary(details={"output": str(made.folder), "n_views": made.n_views})
