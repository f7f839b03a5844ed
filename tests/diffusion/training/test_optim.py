"""Muon and AdamW."""

from __future__ import annotations

import torch
from torch import nn

from headforge.diffusion.training.optim import MuonAdamW, orthogonalize


def test_orthogonalize_keeps_the_singular_vectors_and_levels_the_values() -> None:
    matrices = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(0))
    found = orthogonalize(matrices)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    values = torch.einsum("kmi,kmn,kin->ki", u, found, vh)
    assert float(values.min()) > 0.3 and float(values.max()) < 1.3
    rebuilt = torch.einsum("kmi,ki,kin->kmn", u, values, vh)
    torch.testing.assert_close(found, rebuilt, atol=1e-4, rtol=0)


def test_orthogonalize_is_the_published_iteration() -> None:
    matrix = torch.randn(6, 15, generator=torch.Generator().manual_seed(1))
    x = matrix / matrix.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    torch.testing.assert_close(orthogonalize(matrix[None])[0], x, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(orthogonalize(matrix.T[None])[0], x.T, atol=1e-4, rtol=1e-4)


def test_adamw_agrees_with_torch() -> None:
    ours, theirs = (nn.Parameter(torch.ones(5)) for _ in range(2))
    optimizer = MuonAdamW({}, {"p": ours}, 0.0, {"p": 0.1}, 0.0)
    reference = torch.optim.Adam([theirs], lr=0.1, betas=MuonAdamW.BETAS, eps=MuonAdamW.EPS)
    for i in range(5):
        gradient = torch.linspace(-1, 1, 5) * (i + 1)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.step(1.0)
        reference.step()
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_convolutions_are_updated_as_matrices() -> None:
    weight = nn.Parameter(torch.zeros(4, 3, 3, 3))
    weight.grad = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    MuonAdamW({"w": weight}, {}, 0.1, {}, 0.0).step(0.5)
    values = torch.linalg.svdvals(weight.detach().reshape(4, 27)) / 0.05
    assert float(values.min()) > 0.5 and float(values.max()) < 1.3


def test_state_round_trip_goes_on_exactly() -> None:
    def make() -> tuple[nn.Parameter, nn.Parameter, MuonAdamW]:
        w, b = nn.Parameter(torch.ones(3, 5)), nn.Parameter(torch.ones(3))
        return w, b, MuonAdamW({"w": w}, {"b": b}, 0.1, {"b": 0.01}, 0.01)

    def step(w: nn.Parameter, b: nn.Parameter, optimizer: MuonAdamW, i: int) -> None:
        w.grad = torch.sin(torch.arange(15.0) + i).reshape(3, 5)
        b.grad = torch.cos(torch.arange(3.0) + i)
        optimizer.step(1.0)

    first, second = make(), make()
    for i in range(2):
        step(*first, i)
    second[2].load_state({name: tensor.clone() for name, tensor in first[2].state().items()})
    with torch.no_grad():
        second[0].copy_(first[0])
        second[1].copy_(first[1])
    for run in (first, second):
        step(*run, 2)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
