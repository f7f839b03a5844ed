"""Plain colours for pictures of a bare head model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from headforge.flame.landmark_sets import pupil_embedding
from headforge.flame.model import HeadModel
from headforge.geometry.meshes import interpolate_on_faces

CLAY = (0.82, 0.73, 0.67)
REGION_COLORS: Mapping[str, tuple[float, float, float]] = {
    "mouth_interior": (0.42, 0.22, 0.20),
    "tongue": (0.70, 0.42, 0.40),
    "teeth": (0.93, 0.91, 0.86),
    "left_eyeball": (0.95, 0.95, 0.94),
    "right_eyeball": (0.95, 0.95, 0.94),
}
"""sRGB by region; a later one wins."""
IRIS, PUPIL = (0.30, 0.36, 0.42), (0.05, 0.05, 0.06)
IRIS_COSINE, PUPIL_COSINE = 0.88, 0.975
"""Cosine of the angle at the eyeball's centre between the pupil's middle and the edge of iris and pupil."""
EYEBALLS = ("right_eyeball", "left_eyeball")


def clay_colors(model: HeadModel) -> Tensor:
    """Return [V, 3] sRGB: clay, with separate colours for mouth and eyes if the model has those regions."""
    colors = torch.tensor(CLAY, device=model.v_template.device).repeat(model.n_vertices, 1)
    for region, color in REGION_COLORS.items():
        if region in model.regions:
            colors[model.regions[region]] = torch.tensor(color, device=model.v_template.device)
    if all(region in model.regions for region in EYEBALLS):
        pupils = interpolate_on_faces(model.v_template, model.faces, *pupil_embedding(model))
        for region, pupil in zip(EYEBALLS, pupils, strict=True):
            ids = model.regions[region]
            points = model.v_template[ids]
            middle = (points.amin(0) + points.amax(0)) / 2
            cosine = normalize(points - middle, dim=-1) @ normalize(pupil - middle, dim=0)
            colors[ids[cosine > IRIS_COSINE]] = torch.tensor(IRIS, device=model.v_template.device)
            colors[ids[cosine > PUPIL_COSINE]] = torch.tensor(PUPIL, device=model.v_template.device)
    return colors
