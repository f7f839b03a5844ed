"""Sources of landmarks: a face detector for photos, exact geometry plus noise for synthetic views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from headforge.flame.model import HeadModel, landmarks, pose_head
from headforge.geometry.cameras import project
from headforge.geometry.meshes import face_normals
from headforge.geometry.seeding import item_seed
from headforge.render.visibility import visible_points
from headforge.types import Camera, HeadParams

N_LANDMARKS = 68
OUTLIER_SHARE_OF_WIDTH = 0.05
"""Standard deviation of gross outliers."""


class DetectedFace(Protocol):
    """A detected face."""

    @property
    def box(self) -> Sequence[float]:
        """Left, top, right, bottom in pixels."""
        ...

    @property
    def landmarks(self) -> np.ndarray:
        """[68, 2] iBUG points, x and y in pixels (pixel centres at +0.5)."""
        ...

    @property
    def score(self) -> float:
        """The detector's confidence; comparable within one detector only."""
        ...


class FaceDetector(Protocol):
    """Finds faces and their 68 iBUG landmarks in a photo."""

    def detect_landmarks(self, image: np.ndarray) -> Sequence[DetectedFace]:
        """Return all faces of an RGB image [H, W, 3] uint8."""
        ...


@dataclass(frozen=True)
class Observations:
    """Observed landmarks of V views of one subject."""

    points: Tensor
    """[V, L, 2] pixels, float64."""
    visible: Tensor
    """[V, L] bool."""
    outliers: Tensor
    """[V, L] bool: simulated gross outliers; used for evaluation only, never by the fit."""


@dataclass(frozen=True)
class NoiseSettings:
    """Error model of the synthetic detector."""

    seed: int
    noise: float
    """Standard deviation per coordinate, as a share of the image width."""
    missing_share: float
    """Share of the visible points that are missed."""
    outlier_share: float
    """Share of the visible points that are gross outliers."""


def observe_views(
    model: HeadModel, params: HeadParams, camera: Camera, subject_id: str, views: Sequence[int], noise: NoiseSettings
) -> Observations:
    """Return the landmarks of exact parameters [V] through exact cameras [V], with noise and visibility.

    The errors of a view depend only on the seed, the subject and the view.
    """
    vertices = pose_head(model, params)
    points = landmarks(model, vertices)
    pixels, _ = project(camera, points)
    visible = visible_landmarks(model, vertices, points, camera)
    pixels = pixels.double()
    missing, outliers = torch.zeros_like(visible), torch.zeros_like(visible)
    for row, view in enumerate(views):
        generator = np.random.default_rng(item_seed(noise.seed, "landmarks", subject_id, view))
        count = points.shape[1]
        error = torch.from_numpy(generator.standard_normal((count, 2)))
        missing[row] = torch.from_numpy(generator.random(count) < noise.missing_share)
        outliers[row] = torch.from_numpy(generator.random(count) < noise.outlier_share)
        gross = torch.from_numpy(generator.standard_normal((count, 2)))
        pixels[row] += noise.noise * camera.width * error
        pixels[row] += OUTLIER_SHARE_OF_WIDTH * camera.width * gross * outliers[row, :, None]
    return Observations(pixels, visible & ~missing, outliers)


def visible_landmarks(model: HeadModel, vertices: Tensor, points: Tensor, camera: Camera) -> Tensor:
    """Return the visibility [V, 68] bool of landmarks `points` [V, 68, 3] on `vertices` [V, N, 3] in V cameras."""
    corners = model.faces[model.landmark_faces]
    local_faces = torch.arange(corners.numel()).reshape(-1, 3)
    normals = face_normals(vertices[:, corners.flatten()], local_faces)
    return visible_points(vertices, model.faces, points, normals, camera)


def detect_views(faces: FaceDetector, pictures: Iterable[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return landmarks [V, 68, 2] float64 pixels and weights [V, 68] of the largest face in each [H, W, 3] uint8.

    Pictures without a face have weights of 0 and points of 0.
    """
    points, weights = [], []
    for picture in pictures:
        found = faces.detect_landmarks(picture)
        if found:
            face = max(found, key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))
            points.append(torch.from_numpy(np.asarray(face.landmarks, dtype=np.float64)))
        else:
            points.append(torch.zeros(N_LANDMARKS, 2, dtype=torch.float64))
        weights.append(torch.full((N_LANDMARKS,), float(bool(found)), dtype=torch.float64))
    return torch.stack(points), torch.stack(weights)
