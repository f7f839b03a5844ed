"""`headforge export DATASET --to FORMAT OUT`."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.commands.exchange.watching import CommandProgress
from flows.run.summary import Summary
from headforge.errors import InputError

if TYPE_CHECKING:
    from flows.commands.command import Commands
    from headforge.store.exchange.export import Exported

FORMATS = ("webdataset", "huggingface", "eg3d", "nerfstudio", "colmap", "gaussianavatars")
"""A copy of the names, so that `--help` imports neither torch nor pyarrow; a test compares them."""
FILM_TRACKS = "tracks.parquet"
"""Name in the folder of a tracked video."""

EXAMPLES = """examples:
  headforge export data/synthetic --to webdataset heads-wds
  headforge export data/synthetic --to huggingface heads-hf
  headforge export data/synthetic --to nerfstudio person --subject 000042
  headforge export data/synthetic --to gaussianavatars heads-ga --tracks data/tracked
  headforge export data/tracked/videos/talk --to gaussianavatars talk --video talk.mp4 \\
    --head data/synthetic/head_model.safetensors

OUT is written atomically, with provenance.json: licences, settings, whether the pictures are synthetic."""


def add_parser(commands: Commands) -> None:
    """Add `export`."""
    parser = add_command(
        commands, "export", "write a dataset in another program's format",
        "Write a dataset, or some of its subjects, to a new folder in another program's format.", EXAMPLES,
    )  # fmt: skip
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="a dataset's folder, such as data/synthetic")
    parser.add_argument("--to", required=True, choices=FORMATS, help="the format")
    parser.add_argument("output", type=Path, metavar="OUT", help="a folder that does not exist yet, or is empty")
    parser.add_argument("--tracks", type=Path, metavar="DIR",
                        help="write cameras and head parameters of these tracks, not the dataset's own")  # fmt: skip
    parser.add_argument("--video", type=Path, metavar="FILE",
                        help="the video, if DATASET is the folder of a video's tracks")  # fmt: skip
    parser.add_argument("--head", type=Path, metavar="FILE", help="head model (safetensors) of a video's tracks")
    parser.add_argument("--licence", default="not stated", metavar="TEXT", help="licence of a video")
    parser.add_argument("--subject", action="append", default=[], metavar="ID", help="only this subject; repeatable")


def run(wanted: argparse.Namespace) -> Summary:
    """Write the folder and print its counts."""
    made = _film(wanted) if (wanted.dataset / FILM_TRACKS).is_file() else _dataset(wanted)
    print(f"{made.folder}: {made.n_views} pictures of {made.n_subjects} subjects, {made.n_bytes / 1e6:.1f} MB.")
    if made.n_left_out:
        print(f"{made.n_left_out} pictures without a usable track were left out.")
    details = {"n_subjects": made.n_subjects, "n_views": made.n_views, "n_bytes": made.n_bytes}
    return Summary(details={"output": str(made.folder), "n_left_out": made.n_left_out, **details})


def _dataset(wanted: argparse.Namespace) -> Exported:
    from flows.commands.exchange.heads import read_head  # these import torch and pyarrow
    from headforge.store.dataset.shards import Dataset
    from headforge.store.dataset.tables import read_tracks
    from headforge.store.exchange.export import export_dataset

    dataset = Dataset(wanted.dataset)
    has_head = dataset.head.is_file() and wanted.to in ("colmap", "gaussianavatars")
    head, landmarks = read_head(dataset.head) if has_head else (None, None)
    tracks = None if wanted.tracks is None else read_tracks(require_folder(wanted.tracks))
    with CommandProgress("export") as progress:
        return export_dataset(
            dataset, wanted.to, wanted.output, wanted.subject, progress, tracks=tracks, head=head, landmarks=landmarks
        )


def _film(wanted: argparse.Namespace) -> Exported:
    """Export the tracks of a video with its frames."""
    import headforge
    from flows.commands.exchange.heads import head_facts, landmark_finder  # these import torch and pyarrow
    from headforge.flame.files import load_head
    from headforge.store.dataset.tables import read_tracks
    from headforge.store.exchange.export import export_views
    from headforge.store.video import open_video
    from headforge.track.mattes.film_views import FilmSource, spool_film

    if wanted.video is None or wanted.head is None:
        raise InputError(wanted.dataset, f"{wanted.dataset} holds a video's tracks, without its frames and head model.",
                         "give them: --video FILE --head data/synthetic/head_model.safetensors.")  # fmt: skip
    tracks = list(read_tracks(wanted.dataset / FILM_TRACKS).values())
    head = load_head(wanted.head)
    size = max(tracks[0].camera.width, tracks[0].camera.height)
    source = FilmSource(open_video(wanted.video, size), tracks)
    about = {
        "headforge_version": headforge.__version__, "generator": "video", "head_models": [head.model_id],
        "licences": {tracks[0].subject_id: wanted.licence}, "params": {}, "synthetic_media": False,
        "cameras_and_head_parameters": "tracked",
    }  # fmt: skip
    with CommandProgress("export") as progress, tempfile.TemporaryDirectory() as spool:
        views = spool_film(source, head, Path(spool), progress)
        made = export_views(views, about, wanted.to, wanted.output, head=head_facts(head),
                            landmarks=landmark_finder(head))  # fmt: skip
    return replace(made, n_left_out=len(tracks) - len(views))


def require_folder(path: Path) -> Path:
    """Return `path`; raises InputError if it is not a folder of tracks."""
    if not (path / "shards").is_dir():
        raise InputError(
            path,
            f"{path} holds no tracks: it has no folder 'shards'.",
            "give a folder of tracks, such as data/tracked.",
        )
    return path
