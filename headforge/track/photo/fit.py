"""Fit of the head model to the 68 landmarks of a photo crop, with a jaw line that follows the outline."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headforge.flame.model import HeadModel
from headforge.track.crop import outer_eye_distance
from headforge.track.solver.basis import LandmarkBasis, landmark_basis
from headforge.track.solver.jaw_line import contour_embedding, landmark_weights
from headforge.track.solver.problem import Problem
from headforge.track.solver.solver import Fit, fit_subject
from headforge.track.solver.state import FitSettings

N_CONTOUR_ROUNDS = 4


@dataclass(frozen=True)
class PhotoFit:
    """A fit of one picture with the final landmark points."""

    fit: Fit
    basis: LandmarkBasis
    landmark_faces: Tensor
    """[68]; the first 17 are those of the contour's bin."""
    landmark_barycentrics: Tensor
    residual_eyes: float
    """Mean distance over the 68 landmarks, in outer-eye distances."""


def fit_photo_landmarks(head: HeadModel, points: np.ndarray, size: int, settings: FitSettings) -> PhotoFit:
    """Fit one square picture of `size` pixels to its landmarks [68, 2], alternating between yaw bin and fit."""
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
    """Return the azimuth of the first view's camera about the head's origin, in degrees."""
    rotation, translation = fit.state.rotation[0], fit.state.translation[0]
    centre = -(rotation.T @ translation)
    return math.degrees(math.atan2(float(centre[0]), float(centre[2])))
