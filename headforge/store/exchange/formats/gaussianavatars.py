"""The dataset folder that VHAP exports and GaussianAvatars reads, one folder per person.

Source: ShenhanQian/VHAP, `export_as_nerf_dataset.py`; ShenhanQian/GaussianAvatars, `scene/dataset_readers.py` and
`scene/flame_gaussian_model.py`. A moment ("timestep") is one set of head parameters, seen by one or several cameras.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headforge.errors import DataError, InputError
from headforge.geometry.cameras import camera_to_gaussianavatars
from headforge.store.dataset.columns import PARAM_COLUMNS
from headforge.store.dataset.tables import Reject
from headforge.store.exchange.folders import require_plain_name
from headforge.store.exchange.formats.centring import centred_view
from headforge.store.exchange.formats.flame_params import (
    canonical_arrays,
    loads_in_gaussianavatars,
    moment_arrays,
    offset_of_arrays,
    params_of_arrays,
    read_arrays,
)
from headforge.store.exchange.formats.nerfstudio import frame_camera
from headforge.store.exchange.frames import Frame, frame_reject, read_json
from headforge.store.exchange.heads import HeadFacts, StatedHead
from headforge.store.exchange.rows import RowsWriter, StoredView, stored_params
from headforge.store.exchange.source import ImportConfig, ImportSource
from headforge.store.exchange.writing import ExportFacts
from headforge.store.files import path_inside, write_json
from headforge.store.images import encode_png

DIVISIONS = ("train", "val", "test")
CANONICAL = "canonical_flame_param.npz"
"""GaussianAvatars treats a folder with this file as a dataset of moving heads."""
TRAIN_SHARE = 0.7
"""VHAP's split: the first moments are for training and validation, the rest for testing."""
VAL_CAMERA = 8
"""VHAP's validation camera, NeRSemble's frontal one; the last camera if this index does not exist."""
HOLD_OUT_EVERY = 10
"""With a single moment, every tenth camera is for testing."""
FORMAT_HELP = "give a folder with transforms_train.json as VHAP exports it, or one that holds several."
HEAD_HELP = "give the head model of the dataset's parameters."

ArrayReader = Callable[[Path], dict[str, np.ndarray]]


def write_gaussianavatars(
    subjects: Iterator[list[StoredView]], facts: ExportFacts, folder: Path
) -> Mapping[str, object]:
    """Write `<subject>/transforms_{train,val,test}.json`, `images`, `fg_masks`, `flame_param`, and `rows.parquet`.

    Pictures are composited on white by their masks, and padded where the principal point is not in the middle, because
    the reader assumes that it is. Raises DataError for a camera that the format can't represent (skew, non-square
    pixels, a principal point outside the picture) and for parameters of another head model.
    """
    head = facts.head
    if head is None:
        raise DataError(folder, "GaussianAvatars' format needs a head model, and this dataset has none.", HEAD_HELP)
    with RowsWriter(folder, with_masks=False) as rows:
        for views in subjects:
            subject_id = require_plain_name(views[0]["subject_id"])
            names = _write_subject(views, folder / subject_id, head, facts.static_offsets.get(subject_id))
            rows.write(views, [f"{subject_id}/{name}" for name in names])
    return {"head_model": head.model_id, "loads_in_gaussianavatars": loads_in_gaussianavatars(head)}


def _write_subject(views: Sequence[StoredView], place: Path, head: HeadFacts, offset: torch.Tensor | None) -> list[str]:
    for kind in ("images", "fg_masks", "flame_param"):
        (place / kind).mkdir(parents=True)
    moments = _moment_numbers(views)
    cameras = _camera_numbers(views, moments)
    frames = []
    for row, moment, camera in zip(views, moments, cameras, strict=True):
        params = f"flame_param/{moment:05d}.npz"
        if not (place / params).exists():
            arrays = moment_arrays(stored_params(row, head.model_id), head, offset)
            np.savez_compressed(place / params, **arrays)  # pyright: ignore[reportArgumentType]
            if moment == 0:
                np.savez_compressed(place / CANONICAL, **canonical_arrays(arrays))  # pyright: ignore[reportArgumentType]
        frames.append(_write_frame(row, moment, camera, params, place))
    for division, chosen in _divisions(frames).items():
        write_json(place / f"transforms_{division}.json", _transforms(frames, chosen))
    return [str(frame["file_path"]) for frame in frames]


def _moment_numbers(views: Sequence[StoredView]) -> list[int]:
    """Number the views' moments from 0, in view order; views of one moment share their head parameters."""
    found: dict[object, int] = {}
    keys = [(row.get("timestep"), *(tuple(row[name]) for name in PARAM_COLUMNS)) for row in views]
    return [found.setdefault(key, len(found)) for key in keys]


def _camera_numbers(views: Sequence[StoredView], moments: Sequence[int]) -> list[int]:
    """Number the views' cameras, identified by name if they have one, otherwise by their values."""
    found: dict[object, int] = {}
    used: set[tuple[int, int]] = set()
    numbers = []
    for view, (row, moment) in enumerate(zip(views, moments, strict=True)):
        key = row.get("camera_id") or (tuple(row["K"]), tuple(row["viewmat"]))
        number = found.setdefault(key, len(found))
        if (moment, number) in used:  # a second picture of this camera and moment needs another file name
            number = found.setdefault(("view", view), len(found))
        used.add((moment, number))
        numbers.append(number)
    return numbers


def _write_frame(row: StoredView, moment: int, camera: int, params: str, place: Path) -> dict[str, Any]:
    view = centred_view(row)
    name = f"{moment:05d}_{camera:02d}.png"
    (place / "images" / name).write_bytes(encode_png(view.image))
    (place / "fg_masks" / name).write_bytes(encode_png(view.mask))
    return {
        "timestep_index": moment,
        "timestep_index_original": moment if row.get("timestep") is None else row["timestep"],
        "timestep_id": f"{moment:05d}",
        "camera_index": camera,
        "camera_id": str(row.get("camera_id") or f"{camera:02d}"),
        **camera_to_gaussianavatars(view.camera),
        "file_path": f"images/{name}",
        "fg_mask_path": f"fg_masks/{name}",
        "flame_param_path": params,
    }


def _divisions(frames: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return frames by division, as VHAP splits them; a single moment is split by cameras."""
    n_moments = 1 + max(frame["timestep_index"] for frame in frames)
    cameras = sorted({frame["camera_index"] for frame in frames})
    held_out = set(cameras[HOLD_OUT_EVERY - 1 :: HOLD_OUT_EVERY]) if n_moments == 1 else set()
    val_camera = None
    if len(cameras) > 1:
        val_camera = VAL_CAMERA if VAL_CAMERA in cameras else max(set(cameras) - held_out)
    n_train = math.ceil(TRAIN_SHARE * n_moments)
    found: dict[str, list[Mapping[str, Any]]] = {division: [] for division in DIVISIONS}
    for frame in frames:
        if frame["timestep_index"] >= n_train or frame["camera_index"] in held_out:
            found["test"].append(frame)
        else:
            found["val" if frame["camera_index"] == val_camera else "train"].append(frame)
    return found


def _transforms(frames: Sequence[Mapping[str, Any]], chosen: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    shared = ("cx", "cy", "fl_x", "fl_y", "h", "w", "camera_angle_x", "camera_angle_y")
    return {
        **{key: frames[-1][key] for key in shared},
        "timestep_indices": sorted({frame["timestep_index"] for frame in chosen}),
        "camera_indices": sorted({frame["camera_index"] for frame in chosen}),
        "frames": list(chosen),
    }


@dataclass(frozen=True)
class _Person:
    place: Path
    subject: str
    cameras: Mapping[str, int]
    """Camera number by camera index in the files."""


def gaussianavatars_frames(config: ImportConfig, source: ImportSource) -> Iterator[Frame | Reject]:
    """Yield the frames of one folder, or of all below a folder, and rejects for invalid entries.

    Head parameters are read if `source.head` states their head model; without it they stay unknown. Raises
    InputError if there is no folder with transforms_train.json.
    """
    found = sorted(file.parent for file in source.path.rglob("transforms_train.json"))
    if not found:
        raise InputError(source.path, f"there is no transforms_train.json in {source.path}.", FORMAT_HELP)
    # The cameras of a moment share a file.
    read = lru_cache(maxsize=1)(read_arrays)
    for place in found:
        yield from _person(place, source, read)


def _person(place: Path, source: ImportSource, read: ArrayReader) -> Iterator[Frame | Reject]:
    subject = place.resolve().name
    entries: list[tuple[str, Any]] = []
    for division in DIVISIONS:
        file = place / f"transforms_{division}.json"
        content = read_json(file, FORMAT_HELP) if file.is_file() else {}
        if not isinstance(content, dict) or not isinstance(content.get("frames", []), list):
            yield frame_reject(f"{subject}/{file.name}", "file", "has no list 'frames'")
            continue
        entries += [(division, {**content, **entry}) for entry in content.get("frames", []) if _is_dict(entry)]
    cameras = {str(entry.get("camera_index")): 0 for _, entry in entries}
    numbers = {name: number for number, name in enumerate(sorted(cameras, key=_natural))}
    person = _Person(place, subject, numbers)
    for number, (division, entry) in enumerate(entries):
        yield _frame(person, source, number, division, entry, read)


def _frame(
    person: _Person, source: ImportSource, number: int, division: str, entry: Mapping[str, Any], read: ArrayReader
) -> Frame | Reject:
    place, subject, cameras = person.place, person.subject, person.cameras
    name = entry.get("file_path")
    moment = entry.get("timestep_index")
    if not isinstance(name, str) or type(moment) is not int or moment < 0:
        return frame_reject(f"{subject}/{division} {number}", "frame", "has no file_path or no timestep_index")
    item = f"{subject}/{name}"
    name = name if ".png" in name else f"{name}.png"  # GaussianAvatars' rule
    mask_name = entry.get("fg_mask_path")
    picture = path_inside(source.images or place, name)
    mask = path_inside(source.masks or place, str(mask_name)) if mask_name or source.masks else None
    params = path_inside(place, str(entry.get("flame_param_path", ".")))
    if picture is None or params is None or (mask_name and mask is None):
        return frame_reject(item, "path", "leads out of the folder of the pictures")
    camera = frame_camera(entry, item)
    if isinstance(camera, Reject):
        return camera
    attributes = {"division": division}
    if source.head is None:
        attributes["head_parameters"] = "not taken: the head model was not named"
    return Frame(
        item, subject, moment * len(cameras) + cameras[str(entry.get("camera_index"))], picture, mask, camera,
        head=None if source.head is None else partial(_stated_head, params, source.head, read),
        timestep=moment, camera_id=str(entry.get("camera_id", entry.get("camera_index"))), attributes=attributes,
    )  # fmt: skip


def _stated_head(path: Path, head: HeadFacts, read: ArrayReader) -> StatedHead:
    """Read a frame's head parameters. Raises ValueError with a reason."""
    try:
        arrays = read(path)
    except InputError as error:
        raise ValueError(f"has no head parameters: {error.message}") from error
    return StatedHead(params_of_arrays(arrays, head)[0], offset_of_arrays(arrays, head))


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _natural(name: str) -> tuple[int, str]:
    """Return a sort key that orders numbers numerically: camera 10 after camera 9."""
    return (int(name) if name.isdigit() else 0, name)
