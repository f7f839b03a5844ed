"""nerfstudio's `transforms.json`: one file per person, pictures and masks beside it.

Source: nerfstudio's data conventions and its dataparser: OpenGL camera to world, pixel centres at +0.5, intrinsics
for all frames or per frame, mask 0 for ignored pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headforge.errors import DataError, InputError
from headforge.geometry.cameras import camera_to_nerfstudio, nerfstudio_to_camera
from headforge.store.dataset.tables import Reject
from headforge.store.exchange.folders import require_plain_name
from headforge.store.exchange.frames import Frame, frame_reject, number, numbers, read_json
from headforge.store.exchange.rows import RowsWriter, StoredView, stored_camera, view_name
from headforge.store.exchange.source import ImportConfig, ImportSource
from headforge.store.exchange.writing import ExportFacts
from headforge.store.files import path_inside, write_json
from headforge.types import Camera

TRANSFORMS = "transforms.json"
PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE")
"""Camera models that are pinholes if the distortion is zero."""
DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
FORMAT_HELP = "give a transforms.json of nerfstudio, or a folder that holds one or several."


def write_nerfstudio(subjects: Iterator[list[StoredView]], facts: ExportFacts, folder: Path) -> Mapping[str, object]:
    """Write `<split>/<subject>/transforms.json` with `images/<view>.png` and `masks/<view>.png`, and `rows.parquet`."""
    with RowsWriter(folder, with_masks=False) as rows:
        for views in subjects:
            place = f"{require_plain_name(views[0]['split'])}/{require_plain_name(views[0]['subject_id'])}"
            for kind in ("images", "masks"):
                (folder / place / kind).mkdir(parents=True)
            frames = []
            for row in views:
                files = {kind: f"{kind}/{view_name(row)}.png" for kind in ("images", "masks")}
                (folder / place / files["images"]).write_bytes(row["image"])
                (folder / place / files["masks"]).write_bytes(row["mask"])
                frames.append({"file_path": files["images"], "mask_path": files["masks"], **_camera_values(row)})
            write_json(folder / place / TRANSFORMS, {"camera_model": "OPENCV", "frames": frames})
            rows.write(views, [f"{place}/{frame['file_path']}" for frame in frames])
    return {}


def _camera_values(row: StoredView) -> dict[str, object]:
    try:
        return camera_to_nerfstudio(stored_camera(row))
    except ValueError as error:
        item = f"{row['subject_id']}/{row['view']}"
        raise DataError(item, f"{item}: {error}.", "export to eg3d or webdataset, which hold any K.") from error


def nerfstudio_frames(config: ImportConfig, source: ImportSource) -> Iterator[Frame | Reject]:
    """Yield the frames of one transforms.json, or of all below a folder, and rejects for invalid entries.

    A person is one file, named after its folder. `source.images` is by default the JSON's folder; `source.masks` is
    for frames without `mask_path`. Raises InputError if there is no such file, or if the only one is not readable.
    """
    path = source.path
    files = [path] if path.is_file() else sorted(path.rglob(TRANSFORMS))
    if not files:
        raise InputError(path, f"there is no {TRANSFORMS} in {path}.", FORMAT_HELP)
    for file in files:
        try:
            content = read_json(file, FORMAT_HELP)
            if not isinstance(content, dict) or not isinstance(content.get("frames"), list):
                raise InputError(file, f"{file} has no list 'frames'.", FORMAT_HELP)
        except InputError as error:
            if len(files) == 1:
                raise
            yield frame_reject(str(file.relative_to(path)), "file", error.message)
            continue
        subject = file.resolve().parent.name
        for view, entry in enumerate(content["frames"]):
            yield _frame(entry, content, f"{subject}/{view}", subject, view, source.images or file.parent, source.masks)


def _frame(
    entry: Any, content: Mapping[str, Any], name: str, subject: str, view: int, root: Path, masks: Path | None
) -> Frame | Reject:
    if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
        return frame_reject(name, "frame", "has no file_path")
    values = {**content, **entry}
    name = f"{subject}/{entry['file_path']}"
    picture = path_inside(root, _with_suffix(entry["file_path"]))
    mask_name = values.get("mask_path")
    if isinstance(mask_name, str):
        mask = path_inside(root, mask_name)
    else:
        mask = None if masks is None else path_inside(masks, _with_suffix(entry["file_path"]))
    if picture is None or (mask is None and (masks is not None or mask_name is not None)):
        return frame_reject(name, "path", "leads out of the folder of the pictures")
    camera = frame_camera(values, name)
    return camera if isinstance(camera, Reject) else Frame(name, subject, view, picture, mask, camera)


def frame_camera(values: Mapping[str, Any], name: str) -> Callable[[int, int], Camera] | Reject:
    """Return the camera of a frame's values (the file's and the frame's own), or a reject of the frame `name`."""
    model = values.get("camera_model", "OPENCV")
    if model not in PINHOLES:
        return frame_reject(name, "camera", f"has a camera of the model {model}: undistort the pictures first")
    if any(values.get(key) for key in DISTORTION):
        return frame_reject(name, "camera", "has a camera with lens distortion: undistort the pictures first")
    c2w = _matrix(values.get("transform_matrix"))
    if c2w is None:
        return frame_reject(name, "camera", "has a transform_matrix that is not 4 x 4 finite numbers")
    return partial(_camera, c2w, values)


def _with_suffix(name: str) -> str:
    """Return the name with a suffix, which Blender-style files omit."""
    return name if Path(name).suffix else f"{name}.png"


def _matrix(rows: Any) -> Tensor | None:
    if not isinstance(rows, list) or len(rows) not in (3, 4):
        return None
    found = [numbers(row, 4) for row in rows]
    known = [row for row in found if row is not None]
    if len(known) != len(found):
        return None
    return torch.tensor([*known, [0.0, 0.0, 0.0, 1.0]][:4], dtype=torch.float64)


def _camera(c2w: Tensor, values: Mapping[str, Any], width: int, height: int) -> Camera:
    stated = {key: number(values[key]) for key in ("w", "h", "fl_x", "fl_y", "cx", "cy") if key in values}
    wrong = [key for key, value in stated.items() if value is None]
    if wrong:
        raise ValueError(f"has no finite number {', '.join(wrong)}")
    if (stated.get("w", width), stated.get("h", height)) != (width, height):
        raise ValueError(
            f"is {width} x {height} px, turned as its EXIF says, and its camera is for {values.get('w')} x "
            f"{values.get('h')} px"
        )
    fl_x = stated.get("fl_x") or _focal(values.get("camera_angle_x"), width)
    fl_y = stated.get("fl_y") or _focal(values.get("camera_angle_y"), height) or fl_x
    if fl_x is None or fl_y is None:
        raise ValueError("has no focal length: neither fl_x nor camera_angle_x")
    cx, cy = stated.get("cx", width / 2), stated.get("cy", height / 2)
    assert cx is not None
    assert cy is not None
    return nerfstudio_to_camera(c2w, fl_x=fl_x, fl_y=fl_y, cx=cx, cy=cy, width=width, height=height)


def _focal(angle_rad: Any, size_px: int) -> float | None:
    angle = number(angle_rad)
    return size_px / (2 * math.tan(angle / 2)) if angle is not None and 0 < angle < math.pi else None
