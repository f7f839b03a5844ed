"""Layers of StyleGAN2 (Karras et al. 2020) in plain torch, with the official names of weights.

Weights are stored as in the optimiser and scaled on use ("equalised learning rate", Karras et al. 2018). Every
resampling uses the filter [1, 3, 3, 1], the only one that the published generators have.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAK = 0.2
ACTIVATION_GAIN = math.sqrt(2)
"""Preserves the variance through a leaky ReLU."""
DEMODULATION_EPSILON = 1e-8
TAPS = (1.0, 3.0, 3.0, 1.0)


def smoothing_filter(device: torch.device | None = None) -> Tensor:
    """Return the outer product [4, 4] of `TAPS`, with sum 1: the buffer `resample_filter` of official weights.

    Without a device, on torch's default device, as the parameters of new modules.
    """
    taps = torch.tensor(TAPS, device=device)
    return torch.outer(taps, taps) / taps.sum() ** 2


class FullyConnected(nn.Module):
    """y = activation(W x + b) for x [B, n_in]."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        is_linear: bool = True,
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((n_out,), bias_init))
        self.is_linear = is_linear
        self.weight_gain = lr_multiplier / math.sqrt(n_in)
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, n_out]."""
        y = functional.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return y if self.is_linear else functional.leaky_relu(y, LEAK) * ACTIVATION_GAIN


class PointConvolution(nn.Module):
    """A 1x1 convolution without bias."""

    resample_filter: Tensor

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.register_buffer("resample_filter", smoothing_filter())
        self.weight = nn.Parameter(torch.randn(n_out, n_in, 1, 1))
        self.weight_gain = 1 / math.sqrt(n_in)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, n_in, H, W] to [B, n_out, H, W]."""
        return functional.conv2d(x, self.weight * self.weight_gain)


def modulated_conv(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool = True, up: bool = False) -> Tensor:
    """Convolve x [B, I, H, W] by weight [O, I, k, k], whose input channels are scaled by style [B, I].

    `demodulate` scales each output channel's weights to unit length; `up` doubles the resolution. For one picture the
    weights are scaled; for several, the input and output are, so that all share one convolution.
    """
    if demodulate and x.dtype == torch.float16:  # otherwise sums of squares overflow; demodulation cancels both factors
        fan_in = weight[0].numel()
        weight = weight / (weight.abs().amax((1, 2, 3), keepdim=True) * math.sqrt(fan_in))
        style = style / style.abs().amax(1, keepdim=True)
    scale = None
    if demodulate:
        power = style.square() @ weight.square().sum((2, 3)).T
        scale = (power + DEMODULATION_EPSILON).rsqrt()
    if len(x) == 1:
        weight = weight * style[0, :, None, None]
        if scale is not None:
            weight = weight * scale[0, :, None, None, None]
        return convolve(x, weight.to(x.dtype), up)
    y = convolve(x * style[:, :, None, None].to(x.dtype), weight.to(x.dtype), up)
    return y if scale is None else y * scale[:, :, None, None].to(x.dtype)


def convolve(x: Tensor, weight: Tensor, up: bool) -> Tensor:
    """Convolve x [B, I, H, W] by weight [O, I, k, k] at the same size, or with `up` and k = 3 to twice the size,
    smoothed.
    """
    if not up:
        return functional.conv2d(x, weight, padding=weight.shape[-1] // 2)
    return smooth(functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2))


def smooth(x: Tensor) -> Tensor:
    """Smooth zero-inserted [B, C, 2H + 1, 2W + 1] to [B, C, 2H, 2W], preserving the magnitude."""
    n = x.shape[1]
    kernel = (4 * smoothing_filter(x.device)).to(x.dtype).expand(n, 1, -1, -1)
    return functional.conv2d(x, kernel, padding=1, groups=n)


def activate(x: Tensor, bias: Tensor, clamp: float | None) -> Tensor:
    """Add bias [C] to x [B, C, H, W]; apply leaky ReLU, gain and the limit `clamp`.

    In place where no gradient is recorded: allocation takes ten times as long as the arithmetic.
    """
    bias = bias[:, None, None].to(x.dtype)
    if torch.is_grad_enabled():
        x = functional.leaky_relu(x + bias, LEAK) * ACTIVATION_GAIN
        return x if clamp is None else x.clamp(-clamp, clamp)
    x = functional.leaky_relu_(x.add_(bias), LEAK).mul_(ACTIVATION_GAIN)
    return x if clamp is None else x.clamp_(-clamp, clamp)


def upsample(x: Tensor) -> Tensor:
    """Upsample [B, C, H, W] to [B, C, 2H, 2W] by the filter, with zero padding.

    Inserting zeros and filtering with [1, 3, 3, 1] is linear interpolation.
    """
    padded = functional.pad(x, (1, 1, 1, 1))
    return functional.interpolate(padded, scale_factor=2, mode="bilinear", align_corners=False)[..., 2:-2, 2:-2]
