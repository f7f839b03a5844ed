"""A tracked film as the views that exports take: frames, mattes from the fitted head, and tracks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headforge.errors import InputError
from headforge.flame.model import HeadModel, pose_head
from headforge.geometry.cameras import yaw_pitch_deg
from headforge.geometry.meshes import similarity_alignment
from headforge.progress import SILENT, Progress
from headforge.store.exchange.rows import StoredView, tracked_view
from headforge.store.images import encode_png
from headforge.store.video import VideoFile
from headforge.track.mattes.matting import matte
from headforge.track.mattes.photo_matte import matte_prior
from headforge.types import Camera, HeadParams, Track

CAMERA_ID = "camera"
PICTURES = ("image", "mask")


class _SpooledView(dict[str, object]):
    """A row whose pictures are read from files on access: a film's frames don't fit into memory."""

    def __init__(self, values: StoredView, files: dict[str, Path]) -> None:
        super().__init__(values)
        self._files = files

    def __missing__(self, name: str) -> bytes:
        return self._files[name].read_bytes()


@dataclass(frozen=True)
class FilmSource:
    """A film and its tracks."""

    film: VideoFile
    tracks: Sequence[Track]
    """One per frame, in order."""
    split: str = "train"


def spool_film(source: FilmSource, head: HeadModel, folder: Path, progress: Progress = SILENT) -> list[StoredView]:
    """Write the accepted frames as PNG files in `folder` and return their rows; `folder` must outlive the rows.

    A row's `view` and `timestep` are the frame's number; its mask is the matte of the fitted head with its hair. Raises
    InputError if the film is not the one that was tracked: of another size, or shorter.
    """
    progress.start(len(source.tracks), "frame")
    rows: list[StoredView] = []
    n_frames = 0
    for track, frame in _frames(source):
        n_frames += 1
        if track.status != "ok":
            progress.item_rejected(f"{track.subject_id}/{track.view}", track.reason)
            continue
        files = {name: folder / f"{track.view:05d}.{name}.png" for name in PICTURES}
        files["image"].write_bytes(encode_png(frame))
        files["mask"].write_bytes(encode_png(frame_mask(head, track, frame)))
        rows.append(_SpooledView(_row(track, source.split), files))
        progress.item_done(f"{track.subject_id}/{track.view}")
    if n_frames < len(source.tracks):
        raise InputError(source.film.path, f"{source.film.path} has {n_frames} frames, and {len(source.tracks)} were "
                         "tracked.", "give the film that was tracked.")  # fmt: skip
    return rows


def _frames(source: FilmSource) -> Iterator[tuple[Track, np.ndarray]]:
    for track, frame in zip(source.tracks, source.film.frames(), strict=False):
        expected = (track.camera.height, track.camera.width)
        if frame.shape[:2] != expected:
            raise InputError(source.film.path, f"{source.film.path} has frames of {frame.shape[1]} x {frame.shape[0]} "
                             f"px, and {expected[1]} x {expected[0]} px were tracked.",
                             "give the film that was tracked.")  # fmt: skip
        yield track, frame


def frame_mask(head: HeadModel, track: Track, frame: np.ndarray) -> np.ndarray:
    """Return the coverage [H, W] uint8 of the tracked head and its hair in the frame [H, W, 3] uint8."""
    params = HeadParams.stack([track.params])
    posed = pose_head(head, params)[0]
    zero = torch.zeros(1, 3)
    upright = pose_head(head, params.replace(rotation=zero, translation=zero))[0]
    camera = _camera_before(track.camera, upright, posed)
    prior = matte_prior(head, upright, camera, np.ones(frame.shape[:2], dtype=bool))
    return np.round(255 * matte(frame, prior)).astype(np.uint8)


def _camera_before(camera: Camera, upright: Tensor, posed: Tensor) -> Camera:
    """Return the camera that sees `upright` [N, 3] as `camera` sees `posed`, the same mesh in another pose."""
    _, rotation, translation = similarity_alignment(upright.double(), posed.double())
    moved = torch.eye(4, dtype=torch.float64)
    moved[:3, :3], moved[:3, 3] = rotation, translation
    return Camera(camera.K, (camera.viewmat.double() @ moved).float(), camera.width, camera.height)


def _row(track: Track, split: str) -> StoredView:
    yaw_deg, pitch_deg = (float(angle) for angle in yaw_pitch_deg(track.camera))
    known: StoredView = {
        "subject_id": track.subject_id, "view": track.view, "split": split, "source": "real", "seed": -1,
        "yaw_deg": yaw_deg, "pitch_deg": pitch_deg, "quality": "{}", "attributes": "{}", "timestep": track.view,
        "camera_id": CAMERA_ID,
    }  # fmt: skip
    return tracked_view(known, track)
