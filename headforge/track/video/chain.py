"""Temporal smoothness: second differences of each frame's pose, jaw and expression, as values and banded blocks.

Frames need not be evenly spaced: with x at the times t0 < t1 < t2, a = t1 - t0 and b = t2 - t1,

    d = (x2 - x1) / b - (x1 - x0) / a,        variance of d = sigma^2 (a + b) / 2,

which is white noise of the acceleration, sigma being the standard deviation at a = b = 1. A rotation's difference is
the rotation vector of R1 R0^T in camera axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from headforge.geometry.rotations import matrix_to_axis_angle, skew
from headforge.track.solver.problem import N_JAW, N_POSE, FitState

N_TURN = 3


@dataclass(frozen=True)
class SmoothSettings:
    """Standard deviations of second differences over neighbouring frames; infinity disables a term."""

    turn_rad: float
    move_m: float
    jaw_rad: float
    expr: float


class Triple(NamedTuple):
    """Three consecutive frames: rows [N] of the tracked frames and the two intervals [N] between them, in frames."""

    first: Tensor
    before: Tensor
    after: Tensor


@dataclass(frozen=True)
class Chain:
    """Coupled frame triples and their stiffness."""

    triples: Triple
    stiffness: Tensor
    """[n] per local unknown: 1 / sigma^2; the first three, of the rotation, are equal."""


@dataclass(frozen=True)
class ChainTerm:
    """The smoothness at one state: value, gradient / 2 [V, n] and Hessian / 2 as blocks between frames."""

    value: float
    gradient: Tensor
    turn_blocks: Tensor
    """[N, 3, 3, 3, 3]: of triple, its frame r, its frame s, unknowns of r, unknowns of s."""
    factors: Tensor
    """[N, 3]: d = factors . (x0, x1, x2) for the vector unknowns."""
    weights: Tensor
    """[N] 2 / (a + b)."""


def make_chain(times: Tensor, breaks: Tensor, settings: SmoothSettings, n_expr: int) -> Chain:
    """Return the chain over V frames at `times` [V]; `breaks` [V - 1] bool cuts it between a frame and the next."""
    gaps = times.diff().double()
    whole = ~(breaks[:-1] | breaks[1:])
    first = whole.nonzero()[:, 0]
    sigma = torch.tensor(
        [settings.turn_rad] * N_TURN + [settings.move_m] * 3 + [settings.jaw_rad] * N_JAW + [settings.expr] * n_expr,
        dtype=torch.float64,
    )
    return Chain(Triple(first, gaps[first], gaps[first + 1]), sigma**-2)


def chain_term(chain: Chain, state: FitState) -> ChainTerm:
    """Return the value, gradient and Gauss-Newton Hessian of the smoothness."""
    first, before, after = chain.triples
    weights = 2 / (before + after)
    factors = torch.stack([1 / before, -1 / before - 1 / after, 1 / after], dim=-1)
    gradient = torch.zeros(len(state.rotation), len(chain.stiffness), dtype=torch.float64)
    rows = first[:, None] + torch.arange(3)
    plain = torch.cat([state.translation, state.jaw, state.expr], dim=-1)
    stiffness = chain.stiffness[N_TURN:]
    difference = torch.einsum("nr,nrk->nk", factors, plain[rows])
    pulled = weights[:, None] * stiffness * difference
    value = float((pulled * difference).sum())
    turn, derivative = turn_difference(state.rotation, chain.triples)
    pulled_turn = chain.stiffness[0] * weights[:, None] * turn
    value += float((pulled_turn * turn).sum())
    local = torch.cat(
        [torch.einsum("nrij,ni->nrj", derivative, pulled_turn), factors[..., None] * pulled[:, None]], dim=-1
    )
    gradient.index_add_(0, rows.flatten(), local.flatten(0, 1))
    blocks = chain.stiffness[0] * torch.einsum("n,nrij,nsik->nrsjk", weights, derivative, derivative)
    return ChainTerm(value, gradient, blocks, factors, weights)


def turn_difference(rotation: Tensor, triples: Triple) -> tuple[Tensor, Tensor]:
    """Return the second difference [N, 3] of rotations [V, 3, 3] and its derivative [N, 3, 3, 3] by left rotations."""
    first, before, after = triples
    r0, r1, r2 = (rotation[first + k] for k in range(3))
    early = matrix_to_axis_angle(r1 @ r0.transpose(1, 2))
    late = matrix_to_axis_angle(r2 @ r1.transpose(1, 2))
    by_early, by_late = inverse_left_jacobian(early), inverse_left_jacobian(late)
    a, b = before[:, None, None], after[:, None, None]
    derivative = torch.stack(
        [by_early.transpose(1, 2) / a, -by_early / a - by_late.transpose(1, 2) / b, by_late / b], dim=1
    )
    return late / after[:, None] - early / before[:, None], derivative


def inverse_left_jacobian(axis_angle: Tensor) -> Tensor:
    """Return J [*, 3, 3] with log(exp(d) exp(w)) = w + J d to first order; J^T belongs to log(exp(w) exp(d))."""
    square = axis_angle.square().sum(-1)[..., None, None]
    small = square < 1e-4
    safe = torch.where(small, torch.ones_like(square), square)
    angle = safe.sqrt()
    exact = 1 / safe - (1 + angle.cos()) / (2 * angle * angle.sin())
    second = torch.where(small, 1 / 12 + square / 720, exact)
    k = skew(axis_angle)
    return torch.eye(3, dtype=axis_angle.dtype) - k / 2 + second * (k @ k)


def n_local(chain: Chain) -> int:
    """Return the number of unknowns of one frame."""
    return len(chain.stiffness)


assert N_TURN + 3 == N_POSE
