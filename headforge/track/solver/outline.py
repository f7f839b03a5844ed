"""Jaw lines that follow the outline of the turned head: selection of a view's landmark points on the head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headforge.flame.landmarks import MAX_CONTOUR_YAW_DEG
from headforge.track.solver.basis import LandmarkBasis

N_JAW_LINE = 17
N_FEATURES = 51


@dataclass(frozen=True)
class Outline:
    """The jaw lines of all yaws."""

    basis: LandmarkBasis
    """The 51 features, then 17 points for each of `contour_bin`'s 79 yaws."""

    def front(self) -> Tensor:
        """Return the mean head's landmarks [68, 3] as seen from the front."""
        jaw_line = self.basis.plain[N_FEATURES : N_FEATURES + N_JAW_LINE, :, 0]
        return torch.cat([jaw_line, self.basis.plain[:N_FEATURES, :, 0]])

    def rows(self, yaw_deg: Tensor) -> Tensor:
        """Return the rows [*, 68] of each view's points in `basis`, for azimuths [*]."""
        steps, features = _places(yaw_deg.device)
        jaw_lines = N_FEATURES + N_JAW_LINE * _bins(yaw_deg)[..., None] + steps
        return torch.cat([jaw_lines, features.expand(*yaw_deg.shape, -1)], dim=-1)

    def layout(self, yaw_deg: Tensor) -> tuple[LandmarkBasis, Tensor]:
        """Return the basis of the P points that views from azimuths [V] need, and each view's rows of it [V, 68].

        The P points start with the 51 features, whose columns 17 to 67 are the same for all views.
        """
        used, own = _bins(yaw_deg).unique(return_inverse=True)
        steps, features = _places(yaw_deg.device)
        kept = torch.cat([features, (N_FEATURES + N_JAW_LINE * used[:, None] + steps).flatten()])
        jaw_lines = N_FEATURES + N_JAW_LINE * own[:, None] + steps
        return self.basis.points(kept), torch.cat([jaw_lines, features.expand(len(own), -1)], dim=1)


def _places(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the indices 0 .. 16 along a jaw line and 0 .. 50 of the features."""
    return torch.arange(N_JAW_LINE, device=device), torch.arange(N_FEATURES, device=device)


def _bins(yaw_deg: Tensor) -> Tensor:
    """Return `contour_bin` of each azimuth."""
    angle = yaw_deg.clamp(-MAX_CONTOUR_YAW_DEG, MAX_CONTOUR_YAW_DEG).round().long()
    return torch.where(angle < 0, MAX_CONTOUR_YAW_DEG - angle, angle)
