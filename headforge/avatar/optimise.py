"""Optimisation of rigged Gaussians against pictures: one view per Adam step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headforge.avatar.config import FitConfig
from headforge.avatar.losses import Target, allowed_scale, hair_loss, photometric, position_loss, scale_loss
from headforge.avatar.rig import RiggedGaussians, bound_frames
from headforge.avatar.views import View, render_cloud
from headforge.errors import NotFiniteError
from headforge.flame.model import HeadModel
from headforge.geometry.seeding import item_seed

ADAM_EPSILON = 1e-15
SH_REST_LR = 0.05
"""Share of the constant coefficient's learning rate (Kerbl et al. 2023: 1/20)."""
REPORT_EVERY = 50


@dataclass(frozen=True)
class WeightedView:
    """A view with its weight in the fit."""

    view: View
    weight: float = 1.0
    pixel_weights: Tensor | None = None
    """[H, W] factors of the absolute differences."""


def view_order(n_views: int, n_steps: int, seed: int) -> np.ndarray:
    """Return the view [n_steps] of each step: rounds of all views, each in its own random order."""
    rounds = n_steps // n_views + 1
    orders = [np.random.default_rng(item_seed(seed, "round", r)).permutation(n_views) for r in range(rounds)]
    return np.concatenate(orders)[:n_steps]


@dataclass(frozen=True)
class Parameters:
    """The optimised parameters: offsets to the Gaussians' tensors, all leaves initialised to zero."""

    means: Tensor
    log_scales: Tensor
    quats: Tensor
    opacity_logits: Tensor
    sh_dc: Tensor
    sh_rest: Tensor

    @staticmethod
    def of(start: RiggedGaussians) -> Parameters:
        """Return zero offsets of the shapes of the Gaussians' tensors."""
        values = (start.means, start.log_scales, start.quats, start.opacity_logits, start.sh[:, :1], start.sh[:, 1:])
        return Parameters(*(torch.zeros_like(value).requires_grad_() for value in values))

    def groups(self, config: FitConfig) -> list[dict[str, object]]:
        """Return Adam's parameter groups."""
        pairs = [(self.means, config.lr_means), (self.log_scales, config.lr_scales), (self.quats, config.lr_quats),
                 (self.opacity_logits, config.lr_opacities), (self.sh_dc, config.lr_colors)]  # fmt: skip
        if self.sh_rest.numel():
            pairs.append((self.sh_rest, config.lr_colors * SH_REST_LR))
        return [{"params": [tensor], "lr": rate} for tensor, rate in pairs]

    def rigged(self, start: RiggedGaussians, trust: Tensor | None) -> RiggedGaussians:
        """Return `start` plus the current offsets times `trust` [N]; differentiable."""
        sh = torch.cat([self.sh_dc, self.sh_rest], dim=1) if self.sh_rest.numel() else self.sh_dc
        changes = {"means": self.means, "log_scales": self.log_scales, "quats": self.quats,
                   "opacity_logits": self.opacity_logits,
                   "sh": sh}  # fmt: skip
        if trust is not None:
            changes = {name: trust.view(-1, *[1] * (c.dim() - 1)) * c for name, c in changes.items()}
        return start.replace(**{name: getattr(start, name) + change for name, change in changes.items()})


def optimise(
    config: FitConfig,
    head: HeadModel,
    start: RiggedGaussians,
    views: Sequence[WeightedView],
    n_iterations: int,
    *,
    trust: Tensor | None = None,
    report: Callable[[str, float, int], None] | None = None,
) -> RiggedGaussians:
    """Fit `start` to the views; return detached Gaussians.

    trust [N] in [0, 1] scales the offset of each Gaussian: Adam moves all at the same rate, even barely visible ones.
    Raises NotFiniteError when the loss is not finite.
    """
    targets = [Target.of(item.view.image) for item in views]
    frames = [bound_frames(item.view.vertices, head.faces, start.binding) for item in views]
    eyes = [item.view.camera.centre if start.sh_degree else None for item in views]
    parameters, allowed = Parameters.of(start), allowed_scale(start)
    optimizer = torch.optim.Adam(parameters.groups(config), eps=ADAM_EPSILON, fused=True)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, config.lr_final ** (1 / max(n_iterations, 1)))
    for step, index in enumerate(view_order(len(views), n_iterations, config.seed)):
        item, rigged = views[index], parameters.rigged(start, trust)
        image = render_cloud(rigged.in_frames(frames[index], eyes[index]), item.view.camera, item.view.background)
        loss = item.weight * photometric(image, targets[index], config.weight_ssim, item.pixel_weights)
        loss = loss + config.weight_position * position_loss(rigged) + config.weight_scale * scale_loss(rigged, allowed)
        loss = loss + config.weight_hair * hair_loss(rigged)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
        if report and (step + 1) % REPORT_EVERY == 0:
            report("loss", loss.item(), step + 1)
    return _finished(parameters.rigged(start, trust))


def _finished(rigged: RiggedGaussians) -> RiggedGaussians:
    for name, value in rigged.tensors().items():
        n_bad = int((~torch.isfinite(value)).sum())
        if n_bad:
            raise NotFiniteError(f"the avatar's {name}", n_bad, value.numel())
    return rigged.replace(**{name: value.detach() for name, value in rigged.tensors().items()})
