"""Muon for hidden matrices and AdamW for everything else; the state is a flat dictionary of named tensors.

Muon (Jordan et al. 2024): the momentum of a weight matrix is replaced by the nearest semi-orthogonal matrix, found by
five steps of a quintic Newton-Schulz iteration. torch.optim.Muon takes matrices only and iterates in bfloat16; here
convolutions are matrices of their flattened kernels, and the iteration runs in float32 on the small Gram matrix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


def orthogonalize(matrices: Tensor) -> Tensor:
    """Return approximate U V^T of each matrix U S V^T in [K, m, n]; singular values end in about 0.7 .. 1.2.

    With X_0 = G / |G| and X_i+1 = (a + b A_i + c A_i^2) X_i, A_i = X_i X_i^T, the factors commute with A_i. The
    iteration therefore runs on A (m x m, m <= n), and the product of the factors is applied to X_0 once.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalize(matrices.transpose(1, 2)).transpose(1, 2)
    a, b, c = NEWTON_SCHULZ
    start = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    gram = start @ start.transpose(1, 2)
    product = start
    for i in range(NEWTON_SCHULZ_STEPS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = factor @ product if i else factor
        if i < NEWTON_SCHULZ_STEPS - 1:
            gram = factor @ gram @ factor
    return product @ start


class MuonAdamW:
    """One optimiser over named parameters, split by name into Muon matrices and AdamW tensors."""

    MOMENTUM = 0.95
    BETAS = (0.9, 0.98)
    EPS = 1e-8

    def __init__(
        self,
        matrices: Mapping[str, nn.Parameter],
        others: Mapping[str, nn.Parameter],
        matrix_rate: float,
        rates: Mapping[str, float],
        weight_decay: float,
    ) -> None:
        """Take the AdamW learning rate of each tensor in `others` from `rates`; decay applies to the matrices alone."""
        self._matrices = dict(matrices)
        self._others = dict(others)
        self._matrix_rate = matrix_rate
        self._rates = dict(rates)
        self._weight_decay = weight_decay
        self._momentum = {name: torch.zeros_like(p) for name, p in self._matrices.items()}
        self._first = {name: torch.zeros_like(p) for name, p in self._others.items()}
        self._second = {name: torch.zeros_like(p) for name, p in self._others.items()}
        self._groups: dict[tuple[int, int], list[str]] = {}
        for name, p in self._matrices.items():
            self._groups.setdefault((p.shape[0], p[0].numel()), []).append(name)
        self._n_steps = 0

    def state(self) -> dict[str, Tensor]:
        """Return the optimiser's state tensors by name."""
        named = {"momentum": self._momentum, "first": self._first, "second": self._second}
        tensors = {f"{kind}.{name}": t for kind, values in named.items() for name, t in values.items()}
        return {**tensors, "n_steps": torch.tensor(self._n_steps, device="cpu")}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load tensors returned by `state`."""
        for name, tensor in self.state().items():
            if name != "n_steps":
                tensor.copy_(state[name])
        self._n_steps = int(state["n_steps"])

    @torch.no_grad()
    def step(self, rate_factor: float) -> None:
        """Update the parameters with all learning rates times `rate_factor`, then free the gradients."""
        self._n_steps += 1
        self._step_matrices(rate_factor)
        self._step_others(rate_factor)
        for p in (*self._matrices.values(), *self._others.values()):
            p.grad = None

    def _step_matrices(self, rate_factor: float) -> None:
        rate = self._matrix_rate * rate_factor
        for (m, n), names in self._groups.items():
            used = [(name, g) for name in names if (g := self._matrices[name].grad) is not None]
            if not used:
                continue
            updates = []
            for name, gradient in used:
                momentum = self._momentum[name].lerp_(gradient, 1 - self.MOMENTUM)
                updates.append(gradient.lerp(momentum, self.MOMENTUM).reshape(m, n))
            directions = orthogonalize(torch.stack(updates)) * math.sqrt(max(1.0, m / n))
            for (name, _), direction in zip(used, directions, strict=True):
                parameter = self._matrices[name]
                parameter.mul_(1 - rate * self._weight_decay)
                parameter.add_(direction.reshape(parameter.shape), alpha=-rate)

    def _step_others(self, rate_factor: float) -> None:
        beta1, beta2 = self.BETAS
        unbias = math.sqrt(1 - beta2**self._n_steps) / (1 - beta1**self._n_steps)
        for name, parameter in self._others.items():
            gradient = parameter.grad
            if gradient is None:
                continue
            first = self._first[name].lerp_(gradient, 1 - beta1)
            second = self._second[name].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            step = self._rates[name] * rate_factor * unbias
            parameter.addcdiv_(first, second.sqrt().add_(self.EPS), value=-step)
