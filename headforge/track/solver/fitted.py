"""Conversion of a fit's views to cameras and head parameters, float32."""

from __future__ import annotations

from dataclasses import replace

import torch

from headforge.flame.model import HeadModel
from headforge.geometry.cameras import pinhole_matrix
from headforge.track.solver.basis import LandmarkBasis
from headforge.track.solver.solver import Fit
from headforge.types import Camera, HeadParams


def fitted_camera(fit: Fit, index: int, width: int, height: int) -> Camera:
    """Return the camera of one fitted view, float32."""
    device = fit.state.rotation.device
    viewmat = torch.eye(4, device=device)
    viewmat[:3, :3] = fit.state.rotation[index].float()
    viewmat[:3, 3] = fit.state.translation[index].float()
    return Camera(pinhole_matrix(float(fit.state.log_focal.exp()), width, height, device), viewmat, width, height)


def fitted_params(head: HeadModel, basis: LandmarkBasis, fit: Fit, index: int) -> HeadParams:
    """Return the head parameters of one fitted view, float32, in the head model's own coefficients."""
    moment = index if len(fit.state.expr) > 1 else 0
    return replace(
        head.neutral(),
        shape=(basis.shape_map @ fit.state.shape).float(),
        expr=(basis.expr_map @ fit.state.expr[moment]).float(),
        jaw=fit.state.jaw[moment].float(),
    )
