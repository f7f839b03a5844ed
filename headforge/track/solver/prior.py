"""Gaussian priors of focal length, shape, expression and jaw, with stiff springs on coefficients beyond the limit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from headforge.track.solver.basis import LandmarkBasis
from headforge.track.solver.state import FitSettings, FitState

LIMIT_STIFFNESS = 1e3
LIMIT_MARGIN = 0.1


@dataclass(frozen=True)
class PriorTerm:
    """A quadratic model of one block's prior: gradient / 2 and Hessian / 2 (diagonal or full)."""

    gradient: Tensor
    hessian: Tensor


def prior_value(basis: LandmarkBasis, settings: FitSettings, state: FitState) -> Tensor:
    """Return the priors' contribution [] to the cost."""
    offset = state.log_focal - math.log(settings.focal_px)
    focal = _focal_stiffness(settings) * offset.square()
    shape = _coefficient_value(state.shape[None], basis.shape_map, settings.shape_sigma, settings)
    expr = _coefficient_value(state.expr, basis.expr_map, settings.expr_sigma, settings)
    jaw_offset, jaw_stiffness = _jaw(settings, state)
    return focal + shape + expr + (jaw_stiffness * jaw_offset.square()).sum()


def prior_terms(
    basis: LandmarkBasis, settings: FitSettings, state: FitState
) -> tuple[PriorTerm, PriorTerm, PriorTerm, PriorTerm]:
    """Return the prior terms of log focal [], shape [S], expression [M, E] and jaw [M, 3]."""
    offset = state.log_focal - math.log(settings.focal_px)
    stiffness = _focal_stiffness(settings)
    focal = PriorTerm(stiffness * offset, torch.tensor(stiffness, dtype=torch.float64, device=offset.device))
    shape = _coefficient_term(state.shape[None], basis.shape_map, settings.shape_sigma, settings)
    expr = _coefficient_term(state.expr, basis.expr_map, settings.expr_sigma, settings)
    jaw_offset, jaw_stiffness = _jaw(settings, state)
    jaw = PriorTerm(jaw_stiffness * jaw_offset, torch.diag(jaw_stiffness).expand(len(state.jaw), 3, 3))
    return focal, PriorTerm(shape.gradient[0], shape.hessian[0]), expr, jaw


def _focal_stiffness(settings: FitSettings) -> float:
    return 0.0 if settings.focal_known else settings.focal_sigma_log**-2


def _jaw(settings: FitSettings, state: FitState) -> tuple[Tensor, Tensor]:
    """Return the offset [M, 3] from the mean and the stiffness [3]."""
    return state.jaw - state.jaw.new_tensor(settings.jaw_mean_rad), state.jaw.new_tensor(settings.jaw_sigma_rad) ** -2


def _coefficient_value(reduced: Tensor, to_full: Tensor, sigma: float, settings: FitSettings) -> Tensor:
    """Return the isotropic Gaussian on [N, C] coefficients plus springs on full coefficients beyond the limit."""
    value = reduced.square().sum() / sigma**2
    if math.isfinite(settings.coefficient_limit):
        value = value + LIMIT_STIFFNESS * _excess(reduced @ to_full.T, settings).square().sum()
    return value


def _coefficient_term(reduced: Tensor, to_full: Tensor, sigma: float, settings: FitSettings) -> PriorTerm:
    """Return the derivatives of `_coefficient_value`."""
    identity = torch.eye(reduced.shape[1], dtype=reduced.dtype, device=reduced.device)
    gradient = reduced / sigma**2
    hessian = (identity / sigma**2).expand(len(reduced), -1, -1)
    if math.isfinite(settings.coefficient_limit):
        excess = _excess(reduced @ to_full.T, settings)
        gradient = gradient + LIMIT_STIFFNESS * excess @ to_full
        active = LIMIT_STIFFNESS * (excess != 0).to(reduced.dtype)
        hessian = hessian + to_full.T @ (active[..., None] * to_full)
    return PriorTerm(gradient, hessian)


def _excess(full: Tensor, settings: FitSettings) -> Tensor:
    """Return each coefficient's excess beyond the limit less a margin."""
    return (full.abs() - (settings.coefficient_limit - LIMIT_MARGIN)).clamp_min(0) * full.sign()
