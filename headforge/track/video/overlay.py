"""Overlay of the fitted head on its film: a film and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from headforge.flame.model import HeadModel, pose_head
from headforge.geometry.cameras import project
from headforge.geometry.meshes import interpolate_on_faces
from headforge.geometry.rotations import axis_angle_to_matrix
from headforge.store.files import write_bytes
from headforge.store.images import encode_png
from headforge.store.video import VideoFile, write_frames
from headforge.track.overlay import draw_overlay
from headforge.track.solver.jaw_line import contour_embedding
from headforge.track.video.config import VideoConfig
from headforge.track.video.detect import FilmLandmarks
from headforge.track.video.fit import FilmFit

OVERLAY_FILE, STRIP_FILE = "overlay.mp4", "strip.png"
OVERLAY_CRF = 23
N_STRIP, STRIP_COLUMNS = 8, 4
STRIP_SIDE_PX = 256
REJECTED_RGB = (220, 40, 40)
BORDER_PX = 4


def write_overlay(
    config: VideoConfig, film: VideoFile, head: HeadModel, seen: FilmLandmarks, found: FilmFit, output: Path
) -> None:
    """Write overlay.mp4 (all frames) and strip.png (8 of them) into `output`; rejected frames have a red border."""
    chosen = set(np.linspace(0, len(seen.how) - 1, N_STRIP).round().astype(int).tolist())
    strip: list[np.ndarray] = []

    def drawn() -> Iterator[np.ndarray]:
        for row, frame in zip(range(len(seen.how)), film.frames(), strict=False):
            picture = overlay_frame(config.overlay_size, frame, row, head, seen, found)
            if row in chosen:
                strip.append(picture)
            yield picture

    write_frames(output / OVERLAY_FILE, drawn(), film.fps, OVERLAY_CRF)
    write_bytes(output / STRIP_FILE, encode_png(contact_strip(strip)))


def overlay_frame(
    size: int, frame: np.ndarray, row: int, head: HeadModel, seen: FilmLandmarks, found: FilmFit
) -> np.ndarray:
    """Render one frame with mesh and landmarks, its longer side `size` pixels at most."""
    scale = min(1.0, size / max(frame.shape[:2]))
    width, height = (max(2, round(scale * side)) for side in (frame.shape[1], frame.shape[0]))
    image = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BOX))
    if found.reasons[row]:
        return _bordered(image)
    camera = found.camera.resized(width, height)
    vertices = pose_head(head, found.params[row : row + 1])[0]
    fitted = project(camera, fitted_landmarks(head, vertices, found, row))[0].numpy()
    observed = np.where(np.isfinite(seen.points[row]), scale * seen.points[row], fitted)
    return draw_overlay(image, head, vertices, camera, observed, fitted)


def fitted_landmarks(head: HeadModel, vertices: Tensor, found: FilmFit, row: int) -> Tensor:
    """Return the 68 landmarks [68, 3] on the posed `vertices` [N, 3], jaw line as seen by the film's camera."""
    faces, barycentrics = contour_embedding(head, facing_yaw_deg(found, row))
    return interpolate_on_faces(vertices, head.faces, faces, barycentrics)


def facing_yaw_deg(found: FilmFit, row: int) -> float:
    """Return the azimuth of the fixed camera as seen from the head of frame `row`, in degrees."""
    params = found.params[row]
    offset = axis_angle_to_matrix(params.rotation).T @ (found.camera.centre - params.translation)
    return float(torch.rad2deg(torch.atan2(offset[0], offset[2])))


def contact_strip(pictures: list[np.ndarray]) -> np.ndarray:
    """Arrange pictures of one size in a sheet of 4 columns, each at most 256 px wide."""
    width = min(STRIP_SIDE_PX, pictures[0].shape[1])
    height = round(pictures[0].shape[0] * width / pictures[0].shape[1])
    small = [np.asarray(Image.fromarray(p).resize((width, height), Image.Resampling.BOX)) for p in pictures]
    small += [np.full_like(small[0], 255)] * (-len(small) % STRIP_COLUMNS)
    rows = [np.concatenate(small[i : i + STRIP_COLUMNS], axis=1) for i in range(0, len(small), STRIP_COLUMNS)]
    return np.concatenate(rows)


def _bordered(image: np.ndarray) -> np.ndarray:
    framed = image.copy()
    for edge in (np.s_[:BORDER_PX], np.s_[-BORDER_PX:], np.s_[:, :BORDER_PX], np.s_[:, -BORDER_PX:]):
        framed[edge] = REJECTED_RGB
    return framed
