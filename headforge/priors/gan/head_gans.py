"""SphereHead and PanoHead as assets: their official checkpoints and, optionally, the official code."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headforge.errors import InputError
from headforge.priors.assets import Kind, Options, Sources, one_path
from headforge.priors.gan.checkout import HELP, MARKS, PACKAGES
from headforge.priors.gan.convert import convert_gan
from headforge.priors.tensor_files import save_tensors

CHECKPOINT, CHECKOUT = "checkpoint", "checkout"
WEIGHTS_FILE = "weights.safetensors"
CODE_SUFFIXES = (".py", ".cpp", ".cu", ".cuh", ".h")


def _find(paths: Sequence[Path], options: Options) -> Sources:
    """Return the checkpoint and the code files of the checkout, which are part of the asset's identity."""
    found = {CHECKPOINT: one_path(paths, "a generator")}
    if options.repo is None:
        return found
    for mark in MARKS:
        if not (options.repo / mark).is_file():
            message = f"'{options.repo}' is not a checkout of the official code: it has no {mark}."
            raise InputError(options.repo, message, HELP)
    code = [path for package in PACKAGES for path in sorted((options.repo / package).rglob("*"))]
    wanted = [path for path in code if path.suffix in CODE_SUFFIXES and path.is_file() and not path.is_symlink()]
    return found | {f"{CHECKOUT}/{path.relative_to(options.repo).as_posix()}": path for path in wanted}


def _convert(kind: str, sources: Sources, folder: Path) -> dict[str, Any]:
    tensors, facts = convert_gan(sources[CHECKPOINT], kind)
    save_tensors(folder / WEIGHTS_FILE, tensors)
    code = {role: path for role, path in sources.items() if role != CHECKPOINT}
    for role, path in code.items():
        (folder / role).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / role)
    return {**facts, "runs_official_code": bool(code)}


def _kind(name: str, title: str, example: str) -> Kind:
    return Kind(
        name=name,
        title=f"{title}, a generator of heads seen from all sides",
        gives=f"the official checkpoint, such as {example}",
        licences=(name,),
        version=1,
        find=_find,
        convert=lambda sources, folder, options: _convert(name, sources, folder),
        takes_repo=True,
    )


SPHEREHEAD = _kind("spherehead", "SphereHead", "spherehead-ckpt-025000.pkl")
PANOHEAD = _kind("panohead", "PanoHead", "easy-khair-180-gpc0.8-trans10-025000.pkl")
