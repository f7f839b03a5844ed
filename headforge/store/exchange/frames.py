"""Reading and checking of imported frames: a picture with the camera that another program's file states.

Invalid frames (a missing or damaged picture, an invalid camera, a path that leads out of the folder) become rejects
with their reason; the import continues.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headforge import guarded
from headforge.errors import InputError
from headforge.geometry.camera_check import CONVENTIONS, FINE, Convention
from headforge.store.dataset.tables import Reject
from headforge.store.exchange.heads import StatedHead
from headforge.store.images import read_mask, read_photo
from headforge.types import Camera, HeadParams

MAX_ROTATION_ERROR = 1e-3
"""Largest element of R Rᵀ - I; accepts files with few decimals, refuses a scaled or sheared matrix."""
MIN_SIDE_PX = 16


@dataclass(frozen=True)
class Frame:
    """A picture and its camera as a file states them; the picture is not read yet."""

    name: str
    """The picture's name in the file."""
    subject: str
    """Name of the person in the file, or of the folder."""
    view: int
    picture: Path
    mask: Path | None
    camera: Callable[[int, int], Camera]
    """Return the camera for an upright picture of a width and height; ValueError with a reason if there is none."""
    head: Callable[[], StatedHead] | None = None
    """Return head parameters, where the format has them; ValueError with a reason if there are none."""
    timestep: int | None = None
    """Number of the moment, where the format has them."""
    camera_id: str | None = None
    """Name of the fixed camera, where the format has them."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Other attributes that the format states for the picture."""


@dataclass(frozen=True)
class ReadFrame:
    """A frame's pixels and camera, checked."""

    image: np.ndarray
    """[H, W, 3] uint8."""
    mask: np.ndarray | None
    """[H, W] uint8."""
    camera: Camera
    """Unbatched, float64."""
    params: HeadParams
    """Unbatched; unknown where the format does not state them."""
    static_offset: Tensor | None
    """[V, 3]; None where the format does not state it."""


class BadFrame(Exception):
    """A frame that can't be imported; the gate and the reason are recorded."""

    def __init__(self, gate: str, reason: str) -> None:
        super().__init__(reason)
        self.gate = gate
        self.reason = reason


def read_frame(frame: Frame, size: tuple[int, int] | None, convention: Convention = CONVENTIONS[FINE]) -> ReadFrame:
    """Read and check one frame. Raises BadFrame, also if the picture's size is not `size` (width, height).

    The EXIF orientation is applied before the camera is computed. `convention` is the convention of the cameras; if
    they belong to mirrored pictures, the pictures are mirrored back.
    """
    image = _picture(frame.picture)
    height, width = image.shape[:2]
    if size is not None and size != (width, height):
        raise BadFrame("size", f"is {width} x {height} px and not {size[0]} x {size[1]} px as the first one")
    mask = None if frame.mask is None else _mask(frame.mask, width, height)
    try:
        camera = frame.camera(width, height)
    except ValueError as error:
        raise BadFrame("camera", str(error)) from error
    camera, flips = _rigid(convention.apply(camera))
    _check_camera(camera)
    image, mask = np.flip(image, flips), mask if mask is None else np.flip(mask, flips)
    head = _head(frame)
    params, offset = (HeadParams.unknown(), None) if head is None else (head.params, head.static_offset)
    return ReadFrame(np.ascontiguousarray(image), mask, camera, params, offset)


def _rigid(camera: Camera) -> tuple[Camera, tuple[int, ...]]:
    """Return the camera without reflection, and the axes along which to flip its picture."""
    if not float(torch.linalg.det(camera.viewmat[:3, :3])) < 0:
        return camera, ()
    is_upside_down = float(camera.viewmat[1, 1]) > 0  # a camera's y axis points downwards in the world
    column, size = (1, camera.height) if is_upside_down else (0, camera.width)
    K, viewmat = camera.K.clone(), camera.viewmat.clone()
    K[column, 2] = size - K[column, 2]
    viewmat[column] *= -1
    return Camera(K, viewmat, camera.width, camera.height), (1 - column,)


def _head(frame: Frame) -> StatedHead | None:
    try:
        return None if frame.head is None else frame.head()
    except ValueError as error:
        raise BadFrame("head", str(error)) from error


def _picture(path: Path) -> np.ndarray:
    try:
        return read_photo(path, MIN_SIDE_PX)
    except InputError as error:
        raise BadFrame("picture", error.message) from error


def _mask(path: Path, width: int, height: int) -> np.ndarray:
    try:
        mask = read_mask(path)
    except InputError as error:
        raise BadFrame("mask", error.message) from error
    if mask.shape != (height, width):
        raise BadFrame("mask", f"has a mask of {mask.shape[1]} x {mask.shape[0]} px and is {width} x {height} px")
    return mask


def _check_camera(camera: Camera) -> None:
    """Raise BadFrame unless the camera is a rigid transform and a pinhole, finite in float32."""
    values = torch.cat([camera.K.flatten(), camera.viewmat.flatten()])
    if not bool(torch.isfinite(values.float()).all()):
        raise BadFrame("camera", "has a camera with numbers that are not finite")
    rotation = camera.viewmat[:3, :3]
    error = float((rotation @ rotation.T - torch.eye(3, dtype=rotation.dtype)).abs().max())
    if error > MAX_ROTATION_ERROR or float(torch.linalg.det(rotation)) < 0:
        raise BadFrame("camera", "has a camera matrix that is not a rotation and a translation")
    if not torch.allclose(camera.viewmat[3], camera.viewmat.new_tensor([0.0, 0.0, 0.0, 1.0]), atol=1e-6):
        raise BadFrame("camera", "has a camera matrix whose last row is not 0 0 0 1")
    if min(float(camera.K[0, 0]), float(camera.K[1, 1])) <= 0:
        raise BadFrame("camera", "has a camera whose focal length is not positive")


def frame_reject(name: str, gate: str, reason: str) -> Reject:
    """Return a reject of an import, without a measured value."""
    return Reject(name, gate, reason, None)


def numbers(values: Any, n: int) -> list[float] | None:
    """Return `values` if it is a list of n finite numbers, else None."""
    if not isinstance(values, list) or len(values) != n:
        return None
    found = [number(value) for value in values]
    return None if None in found else [value for value in found if value is not None]


def number(value: Any) -> float | None:
    """Return `value` if it is a finite number, else None; booleans are not numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def read_json(path: Path, help: str) -> Any:
    """Read an external JSON file. Raises InputError."""
    if not path.is_file():
        raise InputError(path, f"{path} does not exist.", help)
    return guarded.read_json(path, help, InputError)
