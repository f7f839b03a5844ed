"""Photometric refinement of one subject's tracks, accepted per view within the landmark residual limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from headforge.flame.model import HeadModel, landmarks, pose_head
from headforge.geometry.cameras import project
from headforge.track.photometric.photometric import PhotometricSettings, Pictures, refine_subject
from headforge.track.views.views import ViewLandmarks
from headforge.types import Camera, HeadParams, Track

MIN_VIEWS = 2
OUTLIER_RESIDUALS = 4.0
"""Landmarks with errors beyond this multiple of their view's fit residual are excluded."""


@dataclass(frozen=True)
class SubjectPictures:
    """The pictures of one subject's V views."""

    images: Sequence[np.ndarray]
    """V of [H, W, 3] uint8."""
    masks: Sequence[np.ndarray]
    """V of [H, W] uint8."""


def refine_tracks(
    head: HeadModel,
    tracks: Sequence[Track],
    seen: ViewLandmarks,
    pictures: SubjectPictures,
    settings: PhotometricSettings,
    max_residual_px: float,
) -> list[Track]:
    """Return the tracks with refined cameras and parameters; rejected tracks and single views are unchanged.

    `residual_px` becomes that of the refined track over the inliers of its landmark fit; a view whose residual then
    exceeds `max_residual_px` keeps its landmark fit, with the identity that the others have left.
    """
    ok = [row for row, track in enumerate(tracks) if track.status == "ok"]
    if len(ok) < MIN_VIEWS:
        return list(tracks)
    params, camera = HeadParams.stack([tracks[i].params for i in ok]), Camera.stack([tracks[i].camera for i in ok])
    points, weights = seen.points[ok], seen.weights[ok]
    images, masks = (np.stack([values[i] for i in ok]) for values in (pictures.images, pictures.masks))
    found = refine_subject(head, params, camera, Pictures(images, masks, points, weights), settings)
    limit = points.new_tensor([OUTLIER_RESIDUALS * tracks[i].residual_px for i in ok])
    used = (weights > 0) & (_offsets(head, params, camera, points).norm(dim=-1) <= limit[:, None])
    square = _offsets(head, found.params, found.camera, points).square().sum(-1)
    residuals = (torch.where(used, square, 0.0).sum(-1) / (2 * used.sum(-1)).clamp_min(1)).sqrt().tolist()
    refined = list(tracks)
    for number, (row, residual) in enumerate(zip(ok, residuals, strict=True)):
        if residual <= max_residual_px:
            refined[row] = replace(
                tracks[row], params=found.params[number], camera=found.camera[number], residual_px=residual
            )
    return refined


def _offsets(head: HeadModel, params: HeadParams, camera: Camera, points: Tensor) -> Tensor:
    """Return the offsets [V, 68, 2] in pixels from observed to fitted landmarks; infinite where none was observed."""
    projected, _ = project(camera, landmarks(head, pose_head(head, params)))
    return torch.nan_to_num(projected.to(points.dtype) - points, nan=torch.inf)
