"""The networks of StyleGAN2 (Karras et al. 2020), architecture "skip", with the official names of weights."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from headforge.priors.gan.layers import (
    FullyConnected,
    activate,
    modulated_conv,
    smoothing_filter,
    upsample,
)

MAPPING_LR_MULTIPLIER = 0.01


@dataclass(frozen=True)
class SynthesisSettings:
    """Architecture of a synthesis network."""

    w_dim: int
    resolution: int
    """Width and height of the result, a power of 2."""
    n_channels: int
    """Of the result."""
    channel_base: int
    """A layer at resolution r has channel_base / r channels,"""
    channel_max: int
    """and at most this many."""
    n_half_resolutions: int = 0
    """Number of highest resolutions computed in half precision on a GPU."""
    clamp: float | None = None
    """Largest absolute value of a convolution's output."""


class Mapping(nn.Module):
    """Map a latent code and a camera label to styles."""

    w_avg: Tensor

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        n_ws: int,
        n_layers: int,
        lr_multiplier: float = MAPPING_LR_MULTIPLIER,
        last_is_linear: bool = False,
    ) -> None:
        super().__init__()
        self.n_ws, self.n_layers = n_ws, n_layers
        self.embed = FullyConnected(c_dim, w_dim)
        sizes = [z_dim + w_dim, *[w_dim] * n_layers]
        for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
            is_linear = last_is_linear and i == n_layers - 1
            self.add_module(f"fc{i}", FullyConnected(n_in, n_out, is_linear, lr_multiplier))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, label: Tensor, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """Map z [B, z_dim] and label [B, c_dim] to styles [B, n_ws, w_dim], the first `cutoff` truncated by psi."""
        x = torch.cat([_unit_power(z.float()), _unit_power(self.embed(label.float()))], dim=1)
        for i in range(self.n_layers):
            x = self.get_submodule(f"fc{i}")(x)
        ws = x[:, None].repeat(1, self.n_ws, 1)
        if psi != 1:
            ws[:, :cutoff] = self.w_avg.lerp(ws[:, :cutoff], psi)
        return ws


class SynthesisLayer(nn.Module):
    """A modulated 3x3 convolution, noise, bias and a leaky ReLU."""

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self, n_in: int, n_out: int, w_dim: int, resolution: int, up: bool = False, clamp: float | None = None
    ) -> None:
        super().__init__()
        self.up, self.clamp = up, clamp
        self.register_buffer("resample_filter", smoothing_filter())
        self.affine = FullyConnected(w_dim, n_in, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(n_out, n_in, 3, 3))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor, w: Tensor, noise: bool) -> Tensor:
        """Apply the layer to x [B, n_in, H, W] with the style w [B, w_dim]; `noise` adds the layer's constant noise."""
        x = modulated_conv(x, self.weight, self.affine(w), up=self.up)
        if noise:
            x = x + (self.noise_const * self.noise_strength).to(x.dtype)
        return activate(x, self.bias, self.clamp)


class ToRgb(nn.Module):
    """A modulated 1x1 convolution and bias."""

    def __init__(self, n_in: int, n_out: int, w_dim: int, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = FullyConnected(w_dim, n_in, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(n_out, n_in, 1, 1))
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.weight_gain = 1 / math.sqrt(n_in)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map x [B, n_in, H, W] with the style w [B, w_dim] to [B, n_out, H, W] float32."""
        x = modulated_conv(x, self.weight, self.affine(w) * self.weight_gain, demodulate=False)
        x = x + self.bias[:, None, None].to(x.dtype)
        x = x if self.clamp is None else x.clamp(-self.clamp, self.clamp)
        return x.float()


class SynthesisBlock(nn.Module):
    """The layers of one resolution: one or two convolutions and their contribution to the picture."""

    resample_filter: Tensor

    def __init__(
        self,
        n_in: int,
        n_out: int,
        w_dim: int,
        resolution: int,
        n_channels: int,
        half: bool = False,
        clamp: float | None = None,
        up: bool = True,
    ) -> None:
        """Create the block. `n_in` 0: the first one, which starts from a constant. `up`: doubles the resolution."""
        super().__init__()
        self.half_on_cuda, self.up = half, up
        self.register_buffer("resample_filter", smoothing_filter())
        if n_in:
            self.conv0 = SynthesisLayer(n_in, n_out, w_dim, resolution, up=up, clamp=clamp)
        else:
            self.const = nn.Parameter(torch.randn(n_out, resolution, resolution))
        self.conv1 = SynthesisLayer(n_out, n_out, w_dim, resolution, clamp=clamp)
        self.torgb = ToRgb(n_out, n_channels, w_dim, clamp=clamp)
        self.n_convs = 2 if n_in else 1

    def forward(
        self, x: Tensor | None, image: Tensor | None, ws: Tensor, noise: bool, half: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Apply the block's styles ws [B, n_convs + 1, w_dim] to the features x and the picture so far; return both."""
        styles = iter(ws.unbind(1))
        dtype = torch.float16 if half and self.half_on_cuda and ws.is_cuda else torch.float32
        if x is None:
            x = self.const.to(dtype).expand(len(ws), -1, -1, -1)
        else:
            x = self.conv0(x.to(dtype), next(styles), noise)
        x = cast(Tensor, self.conv1(x, next(styles), noise))
        added = cast(Tensor, self.torgb(x, next(styles)))
        if image is None:
            return x, added
        return x, (upsample(image) if self.up else image) + added


class Synthesis(nn.Module):
    """Map styles to a picture, resolution by resolution."""

    def __init__(self, settings: SynthesisSettings) -> None:
        super().__init__()
        n_levels = settings.resolution.bit_length() - 2
        self.resolutions = [4 * 2**i for i in range(n_levels)]
        half_from = self.resolutions[-1] * 2 // 2**settings.n_half_resolutions
        n_in = 0
        self.n_ws = 1
        for resolution in self.resolutions:
            n_out = min(settings.channel_base // resolution, settings.channel_max)
            half = resolution >= max(half_from, 8)
            block = SynthesisBlock(
                n_in, n_out, settings.w_dim, resolution, settings.n_channels, half=half, clamp=settings.clamp
            )
            self.add_module(f"b{resolution}", block)
            self.n_ws += block.n_convs
            n_in = n_out

    def forward(self, ws: Tensor, noise: bool = True, half: bool = True) -> Tensor:
        """Map ws [B, n_ws, w_dim] to [B, n_channels, resolution, resolution]."""
        x, image, first = None, None, 0
        for resolution in self.resolutions:
            block = cast(SynthesisBlock, self.get_submodule(f"b{resolution}"))
            x, image = block(x, image, ws[:, first : first + block.n_convs + 1], noise, half)
            first += block.n_convs
        assert image is not None
        return image


class Backbone(nn.Module):
    """Mapping and synthesis."""

    def __init__(self, z_dim: int, c_dim: int, n_mapping_layers: int, settings: SynthesisSettings) -> None:
        super().__init__()
        self.synthesis = Synthesis(settings)
        self.mapping = Mapping(z_dim, c_dim, settings.w_dim, self.synthesis.n_ws, n_mapping_layers)


def _unit_power(x: Tensor) -> Tensor:
    """Return each row scaled to a mean square of 1."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()
