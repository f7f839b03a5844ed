"""The linear landmark maps against the whole head model."""

from __future__ import annotations

import dataclasses

import torch

from headforge.flame.model import HeadModel, landmarks, pose_head
from headforge.track.solver.basis import landmark_basis
from headforge.track.solver.problem import landmark_points
from headforge.track.solver.state import FitState
from tests.heads import tiny_head


def head_with_pose_correctives() -> HeadModel:
    head = tiny_head()
    generator = torch.Generator().manual_seed(3)
    return dataclasses.replace(head, posedirs=0.01 * torch.randn(head.posedirs.shape, generator=generator))


def random_state(n_shape: int, n_expr: int, n_views: int = 3) -> FitState:
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return FitState(
        log_focal=torch.tensor(6.0, dtype=torch.float64),
        shape=normal(n_shape),
        expr=normal(n_views, n_expr),
        jaw=0.2 * normal(n_views, 3),
        rotation=torch.eye(3, dtype=torch.float64).expand(n_views, 3, 3),
        translation=torch.zeros(n_views, 3, dtype=torch.float64),
    )


def test_points_equal_the_posed_heads_landmarks() -> None:
    head = head_with_pose_correctives()
    state = random_state(head.n_shape, head.n_expr)
    params = head.neutral((3,)).replace(
        shape=state.shape.float().expand(3, -1), expr=state.expr.float(), jaw=state.jaw.float()
    )
    ours = landmark_points(landmark_basis(head), state)[0]
    torch.testing.assert_close(ours.float(), landmarks(head, pose_head(head, params)), atol=1e-6, rtol=0)


def test_reduction_keeps_the_points_and_the_prior() -> None:
    head = tiny_head()
    generator = torch.Generator().manual_seed(2)
    mixing = torch.randn(head.n_shape, 250, generator=generator)
    shapedirs = torch.cat([head.shapedirs[..., : head.n_shape] @ mixing, head.shapedirs[..., head.n_shape :]], dim=-1)
    basis = landmark_basis(dataclasses.replace(head, shapedirs=shapedirs, n_shape=250))
    reduced = basis.reduced()
    assert reduced.n_shape == head.n_shape
    state = random_state(reduced.n_shape, reduced.n_expr)
    full = dataclasses.replace(state, shape=reduced.shape_map @ state.shape, expr=state.expr @ reduced.expr_map.T)
    torch.testing.assert_close(landmark_points(reduced, state)[0], landmark_points(basis, full)[0])
    torch.testing.assert_close(full.shape.norm(), state.shape.norm())
