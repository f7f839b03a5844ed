"""Landmark definitions that match a detector: a jaw line that follows the outline of the turned head, and weights.

The detected jaw line of a turned head lies on other surface points than that of a frontal head. The basis holds the jaw
lines of all yaws, and the solver selects each view's by its current yaw.
"""

from __future__ import annotations

import torch
from torch import Tensor

from headforge.flame.landmarks import contour_bin
from headforge.flame.model import HeadModel
from headforge.track.solver.basis import LandmarkBasis, landmark_basis
from headforge.track.solver.outline import N_JAW_LINE, Outline

JAW_LINE_WEIGHT = 0.25
BROW_WEIGHT = 0.4
EYE_WEIGHT = 1.5
"""Detectors agree least on the jaw line and the brows and most on the eyes; weights multiply squared errors."""
STATIC_FAR_SIDE_WEIGHT = 0.02
"""Weight of jaw-line points on the far side of a turned head, if the model has no dynamic contour."""


def contour_embedding(head: HeadModel, yaw_deg: float) -> tuple[Tensor, Tensor]:
    """Return the triangles [68] and barycentrics [68, 3] with the jaw line as seen from azimuth `yaw_deg`."""
    if len(head.contour_faces) == 0:
        return head.landmark_faces, head.landmark_barycentrics
    row = contour_bin(yaw_deg)
    return (
        torch.cat([head.contour_faces[row], head.landmark_faces[N_JAW_LINE:]]),
        torch.cat([head.contour_barycentrics[row], head.landmark_barycentrics[N_JAW_LINE:]]),
    )


def landmark_weights(head: HeadModel, yaw_deg: float) -> Tensor:
    """Return the weights [68] of squared errors."""
    weights = torch.ones(68, dtype=torch.float64, device=head.device)
    weights[:N_JAW_LINE] = JAW_LINE_WEIGHT
    weights[N_JAW_LINE:27] = BROW_WEIGHT
    weights[36:48] = EYE_WEIGHT
    if len(head.contour_faces) == 0 and abs(yaw_deg) > 8:
        # Landmark 0 is on the subject's right: it turns away as the camera moves to the subject's left (positive yaw).
        far = slice(0, 8) if yaw_deg > 0 else slice(9, 17)
        weights[far] = STATIC_FAR_SIDE_WEIGHT
    return weights


def outline_of(head: HeadModel) -> tuple[LandmarkBasis, Outline | None]:
    """Return the basis of the 68 landmarks seen from the front, and the jaw lines of all yaws if the head has them."""
    basis = landmark_basis(head)
    if len(head.contour_faces) == 0:
        return basis, None
    faces = torch.cat([head.landmark_faces[N_JAW_LINE:], head.contour_faces.flatten()])
    places = torch.cat([head.landmark_barycentrics[N_JAW_LINE:], head.contour_barycentrics.flatten(0, 1)])
    return basis, Outline(landmark_basis(head, faces, places))
