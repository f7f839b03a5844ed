"""`headforge assets add KIND PATH`, `headforge assets list`, `headforge assets licences [OUTPUT]`."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import Parser, add_command
from flows.run.outcome import EXIT_DONE, EXIT_ITEMS
from flows.run.summary import Summary

if TYPE_CHECKING:
    from flows.commands.command import Commands
    from flows.project.assets import Listed
    from headforge.priors.licences import Verdict

KINDS = {
    "flame": "FLAME's files or a folder of them: model (.pkl), landmarks (.npy); masks, eyelids and template if there",
    "ict": "its folder FaceXModel",
    "spherehead": "the official checkpoint, such as spherehead-ckpt-025000.pkl",
    "panohead": "the official checkpoint, such as easy-khair-180-gpc0.8-trans10-025000.pkl",
    "sd15": "a diffusers folder (unet/, vae/, scheduler/) or the original single file (.safetensors, .ckpt)",
    "animatediff": "mm_sd_v15_v2.ckpt, or a diffusers folder of a motion adapter (config.json, weights)",
    "vae": "a diffusers folder (config.json, weights) or vae-ft-mse-840000-ema-pruned (.safetensors, .ckpt)",
    "lpips-alex": "two files: torchvision's alexnet-owt-7be5be79.pth and the authors' lpips/weights/v0.1/alex.pth",
    "lpips-vgg": "two files: torchvision's vgg16-397923af.pth and the authors' lpips/weights/v0.1/vgg.pth",
    "mediapipe": "face_landmarker.task",
    "dlib": "shape_predictor_68_face_landmarks.dat and dlib_face_recognition_resnet_model_v1.dat, or their folder",
}
"""Help on PATH, by kind. A copy of the kinds' names, so that `--help` does not import torch; a test compares them."""

DESCRIPTION = """Import weights of other projects from local files: they are checked, converted once and kept in the
store with their checksum and licence. Nothing is downloaded and no code in a file is run: pickles are parsed, not
loaded."""
ADD_DESCRIPTION = """Check a file and store it. params.yaml then names it (section assets) by the SHA-256 of its source,
so that a project uses the same weights on every machine. A file that is already stored is not converted again.

KIND and PATH:
"""
ADD_EXAMPLES = """examples:
  headforge assets add sd15 v1-5-pruned-emaonly.safetensors
  headforge assets add flame generic_model.pkl landmark_embedding.npy FLAME_masks.pkl
  headforge assets add spherehead spherehead-ckpt-025000.pkl
  headforge assets add lpips-alex alexnet-owt-7be5be79.pth alex.pth
  headforge assets add vae ~/models/sd-vae-ft-mse --name portrait-vae

exit codes: 0 it is in the store; 2 it can't be used: the message says what is wrong and what to do"""
LICENCES_DESCRIPTION = """May I publish or sell this? List the terms of everything that an output was made with: the
strictest one applies. OUTPUT is a dataset, a model, an avatar or any other output of a stage; by default all outputs
and assets of the project. The publishers' own texts are authoritative."""


def add_parser(commands: Commands) -> None:
    """Add `assets` and its sub-commands."""
    purpose, formatter = "import weights of other projects", argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser("assets", help=purpose, description=DESCRIPTION, formatter_class=formatter)
    actions = parser.add_subparsers(dest="action", required=True, metavar="add|list|licences", parser_class=Parser)
    kinds = "\n".join(f"  {kind:<12} {gives}" for kind, gives in KINDS.items())
    add = add_command(actions, "add", "check files, convert them and keep them", ADD_DESCRIPTION + kinds, ADD_EXAMPLES)
    add.add_argument("kind", choices=tuple(KINDS), metavar="KIND", help="kind of the weights; see above")
    add.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="the file, files or folder")
    add.add_argument("--name", default="", help="name in params.yaml; by default the kind")
    add.add_argument("--repo", type=Path, metavar="CHECKOUT",
                     help="a clone of the official code, to run instead of headforge's own (head GANs)")  # fmt: skip
    add.add_argument("--trust", default="", metavar="SHA256",
                     help="load this TorchScript archive, which is a program; without it they are refused")  # fmt: skip
    add_command(actions, "list", "list the assets of the project and of the store",
                "List the assets that params.yaml names and those in the store.\n"
                "Exit code 1 if a named asset is missing.")  # fmt: skip
    licences = add_command(actions, "licences", "may I publish or sell this?", LICENCES_DESCRIPTION)
    licences.add_argument("output", type=Path, nargs="?", metavar="OUTPUT", help="a file or folder that a stage made")


def run(wanted: argparse.Namespace) -> Summary:
    """Run one of the three sub-commands."""
    return {"add": _add, "list": _list, "licences": _licences}[wanted.action](wanted)


def _add(wanted: argparse.Namespace) -> Summary:
    from flows.project.assets import add  # imports torch
    from headforge.priors.assets import Options

    name = wanted.name or wanted.kind
    added = add(wanted.kind, wanted.paths, Options(wanted.trust.lower(), wanted.repo), name, Path.cwd())
    asset = added.asset
    print(
        f"{asset.kind}: {'converted and kept' if asset.is_new else 'was in the store already'}, sha256 {asset.sha256}"
    )
    print(f"licence: {', '.join(asset.licences)}; 'headforge assets licences' says what that means.")
    for change in added.changes:
        print(f"params.yaml: {change}")
    if not added.in_project:
        print(f"this folder is not in a project; in one, name it with: headforge run -S assets.{name}={asset.sha256}")
    details = {"kind": asset.kind, "name": name, "sha256": asset.sha256, "is_new": asset.is_new,
               "licences": list(asset.licences), "facts": dict(asset.facts), "folder": str(asset.folder)}  # fmt: skip
    return Summary(details=details)


def _list(wanted: argparse.Namespace) -> Summary:
    from flows.project.assets import listed  # imports torch

    entries = listed(Path.cwd())
    for entry in entries:
        print(f"{entry.name or '-':<16} {_state(entry)}")
    if not entries:
        print("no assets; 'headforge assets add --help' lists the kinds.")
    missing = [entry for entry in entries if entry.asset is None]
    if missing:
        print(f"help: headforge assets add KIND PATH --name {missing[0].name}")
    rows = [
        {"name": e.name, "sha256": e.sha256, "kind": e.asset.kind if e.asset else None,
         "licences": list(e.asset.licences) if e.asset else [], "in_store": e.asset is not None}
        for e in entries
    ]  # fmt: skip
    return Summary("missing" if missing else "done", EXIT_ITEMS if missing else EXIT_DONE, details={"assets": rows})


def _state(entry: Listed) -> str:
    if entry.asset is None:
        return f"NOT IN THE STORE  sha256 {entry.sha256}"
    n_bytes = sum(int(source["n_bytes"]) for source in entry.asset.sources.values())
    licences = ", ".join(entry.asset.licences)
    return f"{entry.asset.kind:<12} {n_bytes / 1e6:9.1f} MB  sha256 {entry.sha256[:12]}…  {licences}"


def _licences(wanted: argparse.Namespace) -> Summary:
    from flows.project.licences import licences_of  # imports the settings classes

    found = licences_of(wanted.output, Path.cwd())
    _print_verdict(found)
    carried = [{"source": item.source, **dataclasses.asdict(item.licence)} for item in found.carried]
    return Summary(details={"publish": found.publish, "sell": found.sell, "carried": carried})


def _print_verdict(found: Verdict) -> None:
    print(f"publish: {found.publish}\nsell:    {found.sell}")
    for item in found.carried:
        print(f"  {item.source}: {item.licence.title}")
        print(f"    publish: {item.licence.publish}; sell: {item.licence.sell}; {item.licence.terms}")
        print(f"    {item.licence.url}")
    if not found.carried:
        print("  it is not known what it was made with.")
