"""Fitting the head model to the 68 landmarks of one photo's crop, with a jaw line that follows the outline."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headforge.flame.landmarks import contour_bin
from headforge.flame.model import HeadModel
from headforge.track.basis import LandmarkBasis, landmark_basis
from headforge.track.crop import outer_eye_distance
from headforge.track.problem import FitSettings, Problem
from headforge.track.solver import Fit, fit_subject

N_JAW_LINE = 17
N_CONTOUR_ROUNDS = 4
JAW_LINE_WEIGHT = 0.25
BROW_WEIGHT = 0.4
EYE_WEIGHT = 1.5
"""Detectors agree least on the jaw line and the brows and most on the eyes; weights multiply squared errors."""
STATIC_FAR_SIDE_WEIGHT = 0.02
"""For the jaw-line points on the far side of a turned head, if the model has no dynamic contour."""


@dataclass(frozen=True)
class PhotoFit:
    """A fit of one picture with the landmark points it ended with."""

    fit: Fit
    basis: LandmarkBasis
    landmark_faces: Tensor
    """[68]; the first 17 are those of the contour's bin."""
    landmark_barycentrics: Tensor
    residual_eyes: float
    """Mean distance over the 68 landmarks, in outer-eye distances."""


def contour_embedding(head: HeadModel, yaw_deg: float) -> tuple[Tensor, Tensor]:
    """Triangles [68] and barycentrics [68, 3] with the jaw line as seen from azimuth `yaw_deg`."""
    if len(head.contour_faces) == 0:
        return head.landmark_faces, head.landmark_barycentrics
    row = contour_bin(yaw_deg)
    return (
        torch.cat([head.contour_faces[row], head.landmark_faces[N_JAW_LINE:]]),
        torch.cat([head.contour_barycentrics[row], head.landmark_barycentrics[N_JAW_LINE:]]),
    )


def landmark_weights(head: HeadModel, yaw_deg: float) -> Tensor:
    """[68] weights of squared errors."""
    weights = torch.ones(68, dtype=torch.float64)
    weights[:N_JAW_LINE] = JAW_LINE_WEIGHT
    weights[N_JAW_LINE:27] = BROW_WEIGHT
    weights[36:48] = EYE_WEIGHT
    if len(head.contour_faces) == 0 and abs(yaw_deg) > 8:
        # Landmark 0 is on the subject's right: it turns away when the camera goes to the left (positive yaw).
        far = slice(0, 8) if yaw_deg > 0 else slice(9, 17)
        weights[far] = STATIC_FAR_SIDE_WEIGHT
    return weights


def fit_photo_landmarks(head: HeadModel, points: np.ndarray, size: int, settings: FitSettings) -> PhotoFit:
    """Fit one square picture of `size` pixels from its landmarks [68, 2]; the yaw bin and the fit alternate."""
    observed = torch.from_numpy(points)[None] - size / 2
    yaw, state, found = 0.0, None, None
    for _ in range(N_CONTOUR_ROUNDS):
        faces, barycentrics = contour_embedding(head, yaw)
        basis = landmark_basis(head, faces, barycentrics)
        fit = fit_subject(Problem(basis, observed, landmark_weights(head, yaw)[None], settings), state)
        distance = fit.residuals[0].norm(dim=-1).mean()
        found = PhotoFit(fit, basis, faces, barycentrics, float(distance) / outer_eye_distance(points))
        previous, yaw, state = yaw, fit_yaw_deg(fit), fit.state
        if state is not None and abs(yaw - previous) < 0.5:
            break
    assert found is not None
    return found


def fit_yaw_deg(fit: Fit) -> float:
    """Azimuth of the first view's camera about the head's origin."""
    rotation, translation = fit.state.rotation[0], fit.state.translation[0]
    centre = -(rotation.T @ translation)
    return math.degrees(math.atan2(float(centre[0]), float(centre[2])))
