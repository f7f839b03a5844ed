"""Synthetic landmarks of a smoothly moving head in front of a fixed camera, with ground truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headforge.flame.model import HeadModel
from headforge.geometry.rotations import axis_angle_to_matrix
from headforge.track.solver.basis import landmark_basis
from headforge.track.solver.problem import FitSettings, FitState, Problem, project_state
from headforge.track.video.detect import DETECTED, FilmLandmarks

SIZE = 256
FOCAL_PX = 620.0
FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))


@dataclass(frozen=True)
class Film:
    """V frames; points are pixels from the middle of the picture."""

    state: FitState
    points: Tensor
    """[V, 68, 2]."""
    weights: Tensor
    outliers: Tensor
    focal_px: float = FOCAL_PX

    @property
    def rotation(self) -> Tensor:
        """[V, 3, 3] head to camera."""
        return self.state.rotation

    def exact_state(self) -> FitState:
        """Ground truth of the points."""
        return self.state

    def landmarks(self) -> FilmLandmarks:
        """Landmarks in a detector's form."""
        points = self.points.numpy() + SIZE / 2
        boxes = np.concatenate([points.min(1), points.max(1)], axis=1)
        return FilmLandmarks(points, boxes, (DETECTED,) * len(points), SIZE, SIZE)


def make_film(
    head: HeadModel, *, n_frames: int, noise_px: float = 0.0, outliers: float = 0.0, seed: int = 0,
    turn_deg: float = 20.0,
) -> Film:  # fmt: skip
    """Turns, moves, jaw and expressions are slow waves of random phase."""
    generator = torch.Generator().manual_seed(seed)

    def waves(n: int, period: float) -> Tensor:
        phase = 2 * math.pi * torch.rand(n, generator=generator, dtype=torch.float64)
        times = torch.arange(n_frames, dtype=torch.float64)
        return torch.sin(2 * math.pi * times[:, None] / period + phase)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    turn = math.radians(turn_deg) * waves(3, 60) * torch.tensor([0.4, 1.0, 0.2], dtype=torch.float64)
    move = 0.02 * waves(3, 75) + torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    state = FitState(
        log_focal=torch.tensor(math.log(FOCAL_PX), dtype=torch.float64),
        shape=0.8 * normal(head.n_shape),
        expr=0.5 * waves(head.n_expr, 30),
        jaw=(0.08 + 0.06 * waves(1, 20)) * torch.tensor([1.0, 0, 0], dtype=torch.float64),
        rotation=FACING @ axis_angle_to_matrix(turn),
        translation=move,
    )
    blank = torch.zeros(n_frames, 68, 2, dtype=torch.float64)
    problem = Problem(landmark_basis(head), blank, blank[..., 0], FitSettings(sigma_px=1.0, focal_px=FOCAL_PX))
    exact = project_state(problem, state)[0]
    wrong = torch.rand(n_frames, 68, generator=generator) < outliers
    points = exact + noise_px * normal(n_frames, 68, 2) + 20 * normal(n_frames, 68, 2) * wrong[..., None]
    return Film(state, points, torch.ones(n_frames, 68, dtype=torch.float64), wrong)
