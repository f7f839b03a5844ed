"""Head parameters from named expressions, jaw opening and angles."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from headforge.errors import ConfigError
from headforge.flame.model import HeadModel
from headforge.types import HeadParams

EYE_YAWS = [1, 4]
"""Indices in `HeadParams.eyes` of the turns of both eyes about the vertical axis."""


def posed_params(
    model: HeadModel,
    params: HeadParams,
    *,
    expression: Mapping[str, float] | None = None,
    jaw_open_deg: float | None = None,
    gaze_yaw_deg: float | None = None,
    neck_yaw_deg: float | None = None,
) -> HeadParams:
    """Return `params`, of any batch shape, with the given values replaced.

    `expression` maps names of the model's expressions to coefficients, 1 being the full expression of the builtin head.
    Positive yaws turn towards the subject's left. Raises ConfigError for an expression that the model does not name.
    """
    expr, jaw, eyes, neck = (getattr(params, name).clone() for name in ("expr", "jaw", "eyes", "neck"))
    for name, size in (expression or {}).items():
        if name not in model.expression_names:
            known = ", ".join(model.expression_names) or "none; set params.expr by number"
            message = f"the head model '{model.model_id}' has no expression '{name}'."
            raise ConfigError("expression", name, message, f"it has {known}.")
        expr[..., model.expression_names.index(name)] = size
    if jaw_open_deg is not None:
        jaw[..., 0] = math.radians(jaw_open_deg)
    if gaze_yaw_deg is not None:
        eyes[..., EYE_YAWS] = torch.full_like(eyes[..., EYE_YAWS], math.radians(gaze_yaw_deg))
    if neck_yaw_deg is not None:
        neck[..., 1] = math.radians(neck_yaw_deg)
    return params.replace(expr=expr, jaw=jaw, eyes=eyes, neck=neck)
