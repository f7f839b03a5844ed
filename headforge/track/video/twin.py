"""Reference implementation of `video.chain`: frame by frame, for automatic differentiation."""

from __future__ import annotations

import torch
from torch import Tensor

from headforge.geometry.rotations import matrix_to_axis_angle
from headforge.track.solver.problem import FitState
from headforge.track.video.chain import Chain


def chain_residuals(chain: Chain, state: FitState) -> Tensor:
    """Return the second differences [N * n] over their standard deviations; their squared length is the smoothness."""
    found = []
    for first, before, after in zip(*chain.triples, strict=True):
        x0, x1, x2 = (_plain(state, int(first) + k) for k in range(3))
        r0, r1, r2 = (state.rotation[int(first) + k] for k in range(3))
        early, late = matrix_to_axis_angle(r1 @ r0.T), matrix_to_axis_angle(r2 @ r1.T)
        difference = torch.cat([late / after - early / before, (x2 - x1) / after - (x1 - x0) / before])
        found.append(difference * chain.stiffness.sqrt() * (2 / (before + after)).sqrt())
    return torch.cat(found) if found else state.shape.new_zeros(0)


def _plain(state: FitState, frame: int) -> Tensor:
    return torch.cat([state.translation[frame], state.jaw[frame], state.expr[frame]])
