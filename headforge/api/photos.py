"""Photos of people: fitting the head model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headforge.errors import ShapeError
from headforge.flame.builtin.head import builtin_head
from headforge.flame.model import HeadModel
from headforge.priors.faces.dlib_faces import DlibFaces
from headforge.store.astronaut import ASTRONAUT, astronaut
from headforge.store.images import read_photo
from headforge.track.config import TrackConfig
from headforge.track.faces import LARGEST_FACE
from headforge.track.observe import FaceDetector
from headforge.track.photo.photo import TrackedPhoto, fit_and_matte

Photo = np.ndarray | str | Path
"""Pixels [H, W, 3] uint8 sRGB, the path of a picture, or "builtin:astronaut"."""


def track_photo(
    photo: Photo,
    *,
    name: str | None = None,
    head: HeadModel | None = None,
    detector: FaceDetector | None = None,
    face_index: int = LARGEST_FACE,
    config: TrackConfig | None = None,
) -> TrackedPhoto:
    """Track a photo: fit the head model to its face and cut the person out. Runs on the CPU, about a second.

    `photo` is [H, W, 3] uint8, a path, or "builtin:astronaut". `head` is the builtin head model by default, `detector`
    dlib's (extra `photos`), `face_index` the largest face, `name` the file's. The result has `params` and `camera`
    (unbatched, of the square crop), the pictures `image`, `mask`, `photo` (over white), `overlay`, and `save(folder)`.

    Raises InputError for a file that is not a photo, MissingExtraError without a detector, Rejected for a photo without
    a usable face, ShapeError for pixels of another shape or type.
    """
    faces = DlibFaces() if detector is None else detector
    pixels = read_pixels(photo)
    return fit_and_matte(
        config or TrackConfig(), pixels, name or photo_name(photo), head or builtin_head(), faces, face_index
    )


def read_pixels(photo: Photo) -> np.ndarray:
    """Return the pixels [H, W, 3] uint8 of a photo. Raises as `track_photo` does."""
    if isinstance(photo, np.ndarray):
        if photo.ndim != 3 or photo.shape[-1] != 3 or photo.dtype != np.uint8:
            raise ShapeError(f"photo ({photo.dtype})", "[H, W, 3] uint8", photo.shape)
        return photo
    return astronaut() if photo == ASTRONAUT else read_photo(Path(photo))


def photo_name(photo: Photo) -> str:
    """Return a photo's default name: its file's name."""
    if isinstance(photo, np.ndarray):
        return "photo"
    return str(photo).partition(":")[2] if photo == ASTRONAUT else Path(photo).stem
