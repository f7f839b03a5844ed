"""FLAME and ICT-FaceKit as assets: their published files, stored as one head model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headforge.errors import DataError, InputError
from headforge.flame.files import HEAD_FILE, load_head, save_head
from headforge.flame.model import HeadModel
from headforge.flame.readers.flame_files import FlameFiles, sort_flame_files
from headforge.flame.readers.ict import INDEX_FILE, NEUTRAL_FILE, read_ict
from headforge.flame.readers.official import read_flame
from headforge.pickles import check_downloaded
from headforge.priors.assets import Asset, Kind, Options, Sources, one_path

FACES_FOLDER = "FaceXModel"


def load_head_asset(asset: Asset) -> HeadModel:
    """Load the head model of an asset of the kind "flame" or "ict". Raises DataError for another kind or damage."""
    if asset.kind not in ("flame", "ict"):
        raise DataError(
            asset.folder, f"an asset of the kind {asset.kind} is not a head model.", "name a flame or ict asset."
        )
    return load_head(asset.folder / HEAD_FILE)


def _find_flame(paths: Sequence[Path], options: Options) -> Sources:
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise InputError(missing[0], f"there is no '{missing[0]}'.", "check the path.")
    files = dataclasses.asdict(sort_flame_files(paths))
    return {role: path for role, path in files.items() if path is not None}


def _convert_flame(sources: Sources, folder: Path, options: Options) -> dict[str, Any]:
    return _save(read_flame(FlameFiles(**sources)), folder)


def _find_ict(paths: Sequence[Path], options: Options) -> Sources:
    """Return all shape files of the folder; the reader selects among them."""
    given = one_path(paths, "ICT-FaceKit")
    inside = given / FACES_FOLDER if (given / FACES_FOLDER).is_dir() else given
    for name in (NEUTRAL_FILE, INDEX_FILE):
        if not (inside / name).is_file():
            raise InputError(
                given, f"'{given}' is not a folder of ICT-FaceKit: it has no {name}.",
                f"give the complete folder {FACES_FOLDER} of its light model.",
            )  # fmt: skip
    return {path.name: path for path in sorted(inside.iterdir()) if path.suffix in (".obj", ".json")}


def _convert_ict(sources: Sources, folder: Path, options: Options) -> dict[str, Any]:
    for path in sources.values():
        check_downloaded(path)
    return _save(read_ict(sources[NEUTRAL_FILE].parent), folder)


def _save(model: HeadModel, folder: Path) -> dict[str, Any]:
    save_head(model, folder / HEAD_FILE)
    sizes = {"n_vertices": len(model.v_template), "n_shape": model.n_shape, "n_expr": model.n_expr}
    return {"model_id": model.model_id, **sizes}


FLAME = Kind(
    name="flame",
    title="FLAME 2020 or 2023, a head model",
    gives="FLAME's files or a folder of them: model (.pkl), landmarks (.npy); masks, eyelids and template if there",
    licences=("flame",),
    version=1,
    find=_find_flame,
    convert=_convert_flame,
)
ICT = Kind(
    name="ict",
    title="ICT-FaceKit's light model, a head model",
    gives="its folder FaceXModel",
    licences=("ict-facekit",),
    version=1,
    find=_find_ict,
    convert=_convert_ict,
)
