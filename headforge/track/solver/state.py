"""Settings and unknowns of a fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FitSettings:
    """Settings of one subject's fit, derived from the stage's settings."""

    sigma_px: float
    """Standard deviation of a landmark's error, per coordinate."""
    focal_px: float
    """The known focal length, or the start of the search."""
    focal_known: bool = False
    focal_sigma_log: float = 0.5
    """Prior width of log(focal / start); unused if the focal length is known."""
    shape_sigma: float = 1.0
    """Prior width of the shape coefficients, themselves in standard deviations."""
    expr_sigma: float = 1.0
    jaw_mean_rad: tuple[float, float, float] = (0.0, 0.0, 0.0)
    jaw_sigma_rad: tuple[float, float, float] = (0.15, 0.03, 0.03)
    """Prior of the jaw's axis-angle vector; x opens the mouth."""
    one_moment: bool = False
    """All views show the same expression and jaw: cameras around a person, not frames of a video."""
    coefficient_limit: float = math.inf
    """Beyond this many standard deviations a coefficient is pulled back by a stiff spring and finally clipped."""
    outlier_sigmas: float = 4.5
    """A point farther off than this many robust standard deviations counts as an outlier in the last iterations."""
    n_iterations: int = 14
    n_annealing: int = 4
    """Iterations with the Geman-McClure kernel before the truncated square takes over."""
    tolerance: float = 1e-7
    """The fit ends when an iteration lowers the cost by a smaller share than this."""
    jacobian_dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class FitState:
    """The unknowns of one subject with V views, float64."""

    log_focal: Tensor
    """[] log of the focal length in pixels."""
    shape: Tensor
    """[S] coefficients of the basis."""
    expr: Tensor
    """[V, E]; [1, E] for views of one moment."""
    jaw: Tensor
    """[V, 3] axis-angle; [1, 3] for views of one moment."""
    rotation: Tensor
    """[V, 3, 3] world to camera."""
    translation: Tensor
    """[V, 3] metres."""
