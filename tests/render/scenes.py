"""Random Gaussian scenes, and gradients through a backend."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from headforge.geometry.cameras import look_at, pinhole_matrix
from headforge.render.splatting.splat import Backend, SplatResult, splat


@dataclass(frozen=True)
class Inputs:
    """Arguments of `splat`."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor
    backgrounds: Tensor

    def tensors(self) -> list[Tensor]:
        """The differentiable ones."""
        return [self.means, self.quats, self.scales, self.opacities, self.colors, self.viewmats, self.backgrounds]

    def to(self, dtype: torch.dtype) -> Inputs:
        """Leaves of another float type that want gradients."""
        names = ("means", "quats", "scales", "opacities", "colors", "viewmats", "backgrounds")
        changes = {n: getattr(self, n).detach().to(dtype).requires_grad_() for n in names}
        return replace(self, **changes, Ks=self.Ks.to(dtype))


def random_inputs(seed: int, n: int = 60, n_channels: int = 3, n_cameras: int = 1, size: int = 40) -> Inputs:
    """A cloud of n Gaussians about the origin, some off the image, some nearly transparent, some thin."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.tensor([[0.1, 0.05, 1.0], [-0.4, 0.1, 0.8], [0.3, -0.2, 0.9]])[:n_cameras]
    return Inputs(
        means=0.12 * torch.randn(n, 3, generator=g),
        quats=torch.randn(n, 4, generator=g),
        scales=0.02 * torch.exp(0.8 * torch.randn(n, 3, generator=g)),
        opacities=torch.rand(n, generator=g) * 0.97 + 0.01,
        colors=torch.rand(n, n_channels, generator=g),
        viewmats=look_at(centres, torch.zeros(n_cameras, 3)),
        Ks=pinhole_matrix(1.3 * size, size, size).expand(n_cameras, 3, 3),
        backgrounds=torch.rand(n_cameras, n_channels, generator=g),
    )


def draw(inputs: Inputs, backend: Backend, width: int = 40, height: int = 40, **options: Any) -> SplatResult:
    """Splat with a background."""
    i = inputs
    return splat(i.means, i.quats, i.scales, i.opacities, i.colors, i.viewmats, i.Ks, width, height,
                 backgrounds=i.backgrounds, backend=backend, **options)  # fmt: skip


def draw_and_differentiate(
    inputs: Inputs, backend: Backend, dtype: torch.dtype, **options: Any
) -> tuple[SplatResult, list[Tensor]]:
    """The picture, and the gradients of a fixed random functional of image and alpha."""
    leaves = inputs.to(dtype)
    result = draw(leaves, backend, **options)
    g = torch.Generator().manual_seed(11)
    weights = [torch.randn(x.shape, generator=g).to(dtype) for x in (result.image, result.alpha)]
    loss = (result.image * weights[0]).sum() + (result.alpha * weights[1]).sum()
    return result, list(torch.autograd.grad(loss, leaves.tensors(), allow_unused=True))
