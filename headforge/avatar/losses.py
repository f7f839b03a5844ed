"""Losses of avatar fitting."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from headforge.avatar.rig import RiggedGaussians

WINDOW, SIGMA_PX = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
"""Wang et al. 2004, for values in [0, 1]."""
MAX_LOCAL_SCALE = 0.6
"""Largest standard deviation without a penalty, in triangle sizes, unless the initial one is larger."""
GROWTH = 1.5
"""Growth factor of a Gaussian without a penalty."""


@cache
def _window() -> tuple[float, ...]:
    x = torch.arange(WINDOW, dtype=torch.float64, device="cpu") - WINDOW // 2
    weights = torch.exp(-(x**2) / (2 * SIGMA_PX**2))
    return tuple((weights / weights.sum()).tolist())


def _blur(images: Tensor) -> Tensor:
    """Blur by shifted sums: on a CPU many times faster than a convolution with few channels."""
    half = WINDOW // 2
    for padding, axis in (((0, 0, half, half), -2), ((half, half), -1)):
        padded, size = torch.nn.functional.pad(images, padding), images.shape[axis]
        images = padded.narrow(axis, 0, size) * _window()[0]
        for offset in range(1, WINDOW):
            images.add_(padded.narrow(axis, offset, size), alpha=_window()[offset])
    return images


class _Blur(torch.autograd.Function):
    """The blur as an autograd function; it is linear and symmetric, hence its own adjoint."""

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        return _blur(images)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return _blur(grad_outputs[0])


def blur(images: Tensor) -> Tensor:
    """Apply SSIM's Gaussian window over the last two dimensions of images [C, H, W], zeros outside."""
    blurred = _Blur.apply(images)
    assert isinstance(blurred, Tensor)
    return blurred


@dataclass(frozen=True)
class Target:
    """A target image with its precomputed terms of SSIM."""

    image: Tensor
    """[3, H, W] in [0, 1]."""
    mean: Tensor
    variance: Tensor

    @staticmethod
    def of(image: Tensor) -> Target:
        """Return the target for an image [H, W, 3] in [0, 1]."""
        channels = image.permute(2, 0, 1).contiguous()
        mean = blur(channels)
        return Target(channels, mean, blur(channels * channels) - mean * mean)


def ssim(image: Tensor, target: Target) -> Tensor:
    """Return the mean SSIM of image [H, W, 3] and the target: 11 px window, sigma 1.5 px (Wang et al. 2004)."""
    x = image.permute(2, 0, 1)
    mean, square, product = blur(torch.cat([x, x * x, x * target.image])).chunk(3)
    covariance = product - mean * target.mean
    luminance = (2 * mean * target.mean + C1) / (mean * mean + target.mean.square() + C1)
    contrast = (2 * covariance + C2) / (square - mean * mean + target.variance + C2)
    return (luminance * contrast).mean()


def photometric(image: Tensor, target: Target, weight_ssim: float, weights: Tensor | None = None) -> Tensor:
    """Return (1 - w) L1 + w (1 - SSIM) of image [H, W, 3]; `weights` [H, W] multiply the absolute differences."""
    difference = (image - target.image.permute(1, 2, 0)).abs()
    l1 = difference.mean() if weights is None else (difference * weights[..., None]).mean()
    return (1 - weight_ssim) * l1 + weight_ssim * (1 - ssim(image, target))


def allowed_scale(start: RiggedGaussians) -> Tensor:
    """Return the largest local standard deviation [N, 1] without a penalty, given the initial Gaussians."""
    return (start.log_scales.exp().amax(-1, keepdim=True) * GROWTH).clamp_min(MAX_LOCAL_SCALE)


def position_loss(rigged: RiggedGaussians) -> Tensor:
    """Return the mean excess of |mu| over one triangle size, without free Gaussians (Qian et al. 2024, eq. 6)."""
    excess = torch.relu(rigged.means.norm(dim=-1) - 1)
    return (excess * ~rigged.is_free).mean()


def scale_loss(rigged: RiggedGaussians, allowed: Tensor) -> Tensor:
    """Return the mean excess of the local standard deviations over `allowed` [N, 1] (Qian et al. 2024, eq. 7)."""
    return torch.relu(rigged.log_scales.exp() - allowed).square().sum(-1).add(1e-12).sqrt().mean()


def hair_loss(rigged: RiggedGaussians) -> Tensor:
    """Return the mean of opacity times distance from the triangle (in triangle sizes) of the free Gaussians.

    The visual hull is larger than the hair: Gaussians that no view needs fade, the farthest first.
    """
    cost = rigged.opacity_logits.sigmoid() * rigged.means.detach().norm(dim=-1)
    return (cost * rigged.is_free).mean()
