"""The landmark sets of a head model: 51, 68 or 70 points, with the jaw line of the front or of a turned head."""

from __future__ import annotations

import torch
from torch import Tensor

from headforge.errors import ConfigError, DataError
from headforge.flame.landmarks import contour_bin
from headforge.flame.model import HeadModel
from headforge.geometry.meshes import interpolate_on_faces

N_JAW_LINE = 17
LANDMARK_SETS = (51, 68, 70)
"""iBUG's points without the jaw line; with it; and with the pupils, the subject's right one first."""


def landmark_embedding(model: HeadModel, n_points: int = 68, yaw_deg: float | None = None) -> tuple[Tensor, Tensor]:
    """Return triangles [n_points] and barycentrics [n_points, 3] of a landmark set.

    `yaw_deg` is the camera's azimuth about the head, positive towards the subject's left: the jaw line is then the one
    seen from there, if the model has it (`HeadModel.contour_faces`). None is the static line.

    Raises ConfigError for another number of points, DataError if 70 are asked of a model without pupils.
    """
    if n_points not in LANDMARK_SETS:
        raise ConfigError(
            "n_points", n_points, f"there is no set of {n_points} landmarks.", f"give one of {LANDMARK_SETS}."
        )
    faces, barycentrics = model.landmark_faces, model.landmark_barycentrics
    if n_points == 51:
        return faces[N_JAW_LINE:], barycentrics[N_JAW_LINE:]
    if yaw_deg is not None and len(model.contour_faces):
        row = contour_bin(yaw_deg)
        faces = torch.cat([model.contour_faces[row], faces[N_JAW_LINE:]])
        barycentrics = torch.cat([model.contour_barycentrics[row], barycentrics[N_JAW_LINE:]])
    if n_points == 68:
        return faces, barycentrics
    pupil_faces, pupil_barycentrics = pupil_embedding(model)
    return torch.cat([faces, pupil_faces]), torch.cat([barycentrics, pupil_barycentrics])


def pupil_embedding(model: HeadModel) -> tuple[Tensor, Tensor]:
    """Return triangles [2] and barycentrics [2, 3] of both pupils, right first; default: the eyeballs' foremost
    vertices.

    Raises DataError if the model names neither its pupils nor its eyeballs.
    """
    if len(model.pupil_faces):
        return model.pupil_faces, model.pupil_barycentrics
    picked, weights = [], []
    for name in ("right_eyeball", "left_eyeball"):
        if name not in model.regions:
            raise DataError(
                model.model_id, f"the head model '{model.model_id}' has no pupils and no region '{name}'.",
                "use 68 landmarks, or a model file with landmark_embedding_with_eyes.npy.",
            )  # fmt: skip
        ids = model.regions[name]
        foremost = ids[model.v_template[ids, 2].argmax()]
        face, corner = (model.faces == foremost).nonzero()[0].tolist()
        picked.append(face)
        weights.append([float(k == corner) for k in range(3)])
    device, dtype = model.device, model.v_template.dtype
    return torch.tensor(picked, device=device), torch.tensor(weights, dtype=dtype, device=device)


def landmark_points(model: HeadModel, vertices: Tensor, n_points: int = 68, yaw_deg: float | None = None) -> Tensor:
    """Return landmarks [*, n_points, 3] on posed vertices [*, V, 3]; arguments and errors: `landmark_embedding`."""
    return interpolate_on_faces(vertices, model.faces, *landmark_embedding(model, n_points, yaw_deg))
