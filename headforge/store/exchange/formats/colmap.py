"""COLMAP's sparse models as text: `cameras.txt`, `images.txt`, `points3D.txt`, one model per person.

Source: COLMAP's documentation of its output format. Poses are world to camera with OpenCV's axes, pixel centres lie at
+0.5, quaternions are wxyz: nothing is flipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from headforge.errors import DataError, InputError
from headforge.geometry.cameras import camera_to_colmap, colmap_to_camera, project
from headforge.store.dataset.tables import Reject
from headforge.store.exchange.folders import require_plain_name
from headforge.store.exchange.frames import Frame, frame_reject
from headforge.store.exchange.heads import LandmarkFinder
from headforge.store.exchange.rows import RowsWriter, StoredView, stored_camera, stored_params, view_name
from headforge.store.exchange.source import ImportConfig, ImportSource
from headforge.store.exchange.writing import ExportFacts
from headforge.store.files import path_inside
from headforge.types import NO_HEAD_MODEL, Camera, HeadParams

MODEL = "sparse/0"
"""Folder where other programs expect the model, beside `images`."""
GRAY = "128 128 128"
N_PINHOLE = {"PINHOLE": 4, "SIMPLE_PINHOLE": 3, "SIMPLE_RADIAL": 4, "RADIAL": 5, "OPENCV": 8}
"""Parameter counts of the camera models that are pinholes if the distortion is zero."""
N_ONE_FOCAL = 3
"""f, cx, cy: the first parameters of SIMPLE_PINHOLE, SIMPLE_RADIAL and RADIAL."""
N_POSE = 10
FORMAT_HELP = "give a folder with cameras.txt and images.txt, or one that holds several."
BINARY_HELP = "convert it: colmap model_converter --input_path DIR --output_path DIR --output_type TXT"


def write_colmap(
    subjects: Iterator[list[StoredView]],
    facts: ExportFacts,
    folder: Path,
) -> Mapping[str, object]:
    """Write `<split>/<subject>/sparse/0`, `images/<view>.png`, `masks/<view>.png.png` (COLMAP's name), `rows.parquet`.

    Views with equal intrinsics share a camera of the model PINHOLE. Where the head parameters are known and
    `facts.landmarks` is given, the points are the 68 landmarks: each is the mean over the views, and its error the mean
    distance of the views' own landmarks from its projection (faces move). Raises DataError for a skewed camera.
    """
    with RowsWriter(folder, with_masks=False) as rows:
        for views in subjects:
            place = f"{require_plain_name(views[0]['split'])}/{require_plain_name(views[0]['subject_id'])}"
            for kind in (MODEL, "images", "masks"):
                (folder / place / kind).mkdir(parents=True)
            for row in views:
                name = f"{view_name(row)}.png"
                (folder / place / "images" / name).write_bytes(row["image"])
                (folder / place / "masks" / f"{name}.png").write_bytes(row["mask"])
            points = None if facts.landmarks is None else _landmarks(views, facts.landmarks)
            for name, lines in _model(views, points).items():
                (folder / place / MODEL / name).write_text("\n".join(lines) + "\n")
            rows.write(views, [f"{place}/images/{view_name(row)}.png" for row in views])
    return {}


def _landmarks(views: Sequence[StoredView], landmarks: LandmarkFinder) -> Tensor | None:
    """Return landmarks [V, 68, 3] in float64, or None if some view's head parameters are unknown."""
    model_id = views[0]["model_id"]
    if model_id == NO_HEAD_MODEL:
        return None
    return landmarks(HeadParams.stack([stored_params(row, model_id) for row in views])).double()


def _model(views: Sequence[StoredView], points: Tensor | None) -> dict[str, list[str]]:
    """Return the lines of the three files; `points` [V, L, 3] are the landmarks in each view."""
    cameras: dict[str, int] = {}
    images: list[str] = []
    observed: list[Tensor] = []
    for number, row in enumerate(views, start=1):
        camera = stored_camera(row)
        quat, translation, pinhole = _written_camera(row, camera)
        said = f"PINHOLE {camera.width} {camera.height} {_numbers(pinhole)}"
        camera_id = cameras.setdefault(said, len(cameras) + 1)
        images.append(f"{number} {_numbers([*quat, *translation])} {camera_id} {view_name(row)}.png")
        pixels = torch.zeros(0, 2) if points is None else project(camera, points[number - 1])[0]
        images.append(" ".join(f"{x:.4f} {y:.4f} {n}" for n, (x, y) in enumerate(pixels.tolist(), start=1)))
        observed.append(pixels)
    return {
        "cameras.txt": ["# CAMERA_ID MODEL WIDTH HEIGHT fx fy cx cy", *(f"{n} {said}" for said, n in cameras.items())],
        "images.txt": ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then X Y POINT3D_ID of each point", *images],
        "points3D.txt": ["# POINT3D_ID X Y Z R G B ERROR, then IMAGE_ID POINT2D_IDX of each image"]
        + ([] if points is None else _point_lines(views, points.mean(0), torch.stack(observed))),
    }


def _point_lines(views: Sequence[StoredView], points: Tensor, observed: Tensor) -> list[str]:
    """Return one line per point [L, 3] observed at `observed` [V, L, 2] pixels."""
    projected = torch.stack([project(stored_camera(row), points)[0] for row in views])
    errors = (projected - observed).norm(dim=-1).mean(0).tolist()
    return [
        f"{n + 1} {_numbers(point)} {GRAY} {error:.4f} " + " ".join(f"{v + 1} {n}" for v in range(len(views)))
        for n, (point, error) in enumerate(zip(points.tolist(), errors, strict=True))
    ]


def _written_camera(row: StoredView, camera: Camera) -> tuple[list[float], list[float], list[float]]:
    try:
        return camera_to_colmap(camera)
    except ValueError as error:
        item = f"{row['subject_id']}/{row['view']}"
        raise DataError(item, f"{item}: {error}.", "export to eg3d or webdataset, which hold any K.") from error


def _numbers(values: Sequence[float]) -> str:
    return " ".join(map(repr, values))


def colmap_frames(config: ImportConfig, source: ImportSource) -> Iterator[Frame | Reject]:
    """Yield the frames of one model, or of all below a folder, and rejects for invalid entries.

    A person is one model, named after the folder with `images` and `sparse`. `source.images` is by default
    `images` there, `source.masks` (pictures NAME.png or NAME) `masks` there, if it exists. Raises InputError if there
    is no such model.
    """
    path = source.path
    models = sorted(file.parent for file in path.rglob("images.txt") if (file.parent / "cameras.txt").is_file())
    if not models:
        is_binary = any(path.rglob("images.bin"))
        what = "only a binary model" if is_binary else "no cameras.txt with an images.txt beside it"
        raise InputError(path, f"there is {what} in {path}.", BINARY_HELP if is_binary else FORMAT_HELP)
    for model in models:
        root = _person_folder(model.resolve())
        pictures = source.images or (root / "images" if (root / "images").is_dir() else root)
        beside = source.masks or (root / "masks" if (root / "masks").is_dir() else None)
        yield from _model_frames(model, root.name, pictures, beside)


def _person_folder(model: Path) -> Path:
    """Return the folder that contains `sparse/0`, or the model's own folder."""
    inner = model.parent if model.name.isdigit() else model
    return inner.parent if inner.name == "sparse" else model


def _model_frames(model: Path, subject: str, pictures: Path, masks: Path | None) -> Iterator[Frame | Reject]:
    cameras = {words[0]: words[1:] for words in map(str.split, _lines(model / "cameras.txt")) if words}
    view = count()
    lines = iter(_lines(model / "images.txt"))
    for line in lines:
        if not line.strip():
            continue
        next(lines, None)  # the image's points; an empty line if there are none
        words = line.split(maxsplit=N_POSE - 1)
        if len(words) != N_POSE:
            yield frame_reject(f"{subject}/{line[:40]}", "frame", f"is a line of {len(words)} words, not {N_POSE}")
            continue
        name = words[-1].strip()
        item = f"{subject}/{name}"
        picture = path_inside(pictures, name)
        mask = None if masks is None else _mask_of(masks, name)
        pose = _floats(words[1:8])
        camera = _pinhole(cameras.get(words[8]))
        if picture is None or (masks is not None and mask is None):
            yield frame_reject(item, "path", "leads out of the folder of the pictures")
        elif pose is None or not any(pose[:4]):
            yield frame_reject(item, "camera", "has a pose that is not 7 finite numbers with a quaternion")
        elif isinstance(camera, str):
            yield frame_reject(item, "camera", camera)
        else:
            made = partial(_camera, torch.tensor(pose, dtype=torch.float64), camera)
            yield Frame(item, subject, next(view), picture, mask, made)


def _lines(path: Path) -> list[str]:
    """Return lines without comments; empty lines stay, since they mean images without points."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"{path} is not readable text ({error}).", FORMAT_HELP) from error
    return [line for line in text.splitlines() if not line.startswith("#")]


def _mask_of(masks: Path, name: str) -> Path | None:
    """Return the mask of a picture, `NAME.png` (COLMAP) or `NAME`, or None."""
    named = path_inside(masks, f"{name}.png")
    return named if named is not None and named.is_file() else path_inside(masks, name)


def _floats(words: Sequence[str]) -> list[float] | None:
    try:
        values = [float(word) for word in words]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None


def _pinhole(words: Sequence[str] | None) -> list[float] | str:
    """Parse a line of cameras.txt, without its number, to width, height, fx, fy, cx, cy, or a reason."""
    if words is None:
        return "names a camera that cameras.txt does not have"
    model, values = words[0] if words else "", _floats(words[1:])
    if model not in N_PINHOLE:
        return f"has a camera of the model {model}: undistort the pictures first (colmap image_undistorter)"
    if values is None or len(values) != 2 + N_PINHOLE[model]:
        return f"has a camera of the model {model} without its {2 + N_PINHOLE[model]} finite numbers"
    size, rest = values[:2], values[2:]
    if model in ("PINHOLE", "OPENCV"):
        pinhole, distortion = rest[:4], rest[4:]
    else:
        pinhole, distortion = [rest[0], *rest[:N_ONE_FOCAL]], rest[N_ONE_FOCAL:]
    if any(distortion):
        return "has a camera with lens distortion: undistort the pictures first (colmap image_undistorter)"
    return [*size, *pinhole]


def _camera(pose: Tensor, stated: list[float], width: int, height: int) -> Camera:
    if (stated[0], stated[1]) != (width, height):
        raise ValueError(
            f"is {width} x {height} px, turned as its EXIF says, and its camera is for {stated[0]:.0f} x "
            f"{stated[1]:.0f} px"
        )
    return colmap_to_camera(pose[:4], pose[4:], pose.new_tensor(stated[2:]), width, height)
