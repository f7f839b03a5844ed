"""Super-resolution of a rendered feature image to the final picture: two StyleGAN2 blocks (EG3D, Chan et al. 2022,
section 4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from headforge.priors.gan.layers import smoothing_filter
from headforge.priors.gan.stylegan import SynthesisBlock

HALF_CLAMP = 256.0
"""Largest absolute value in layers trained in half precision, also when it is not in use."""


@dataclass(frozen=True)
class Shape:
    """Differences between the official modules."""

    input_resolution: int
    resolution: int
    n_channels: tuple[int, int]
    first_doubles: bool
    has_filter: bool
    """Whether the module keeps a smoothing filter of its own among its weights."""


SHAPES: Mapping[str, Shape] = {
    "SuperresolutionHybrid8XDC": Shape(128, 512, (256, 128), first_doubles=True, has_filter=False),
    "SuperresolutionHybrid8X": Shape(128, 512, (128, 64), first_doubles=True, has_filter=True),
    "SuperresolutionHybrid4X": Shape(128, 256, (128, 64), first_doubles=False, has_filter=True),
    "SuperresolutionHybrid2X": Shape(64, 128, (128, 64), first_doubles=False, has_filter=True),
}
"""By the official class's name."""


class Superresolution(nn.Module):
    """Super-resolution module for a picture with its features."""

    resample_filter: Tensor

    def __init__(self, shape: Shape, n_in: int, w_dim: int, half: bool, antialias: bool) -> None:
        super().__init__()
        self.shape, self.antialias = shape, antialias
        first, last = shape.n_channels
        middle = shape.resolution // 2
        clamp = HALF_CLAMP if half else None
        self.block0 = SynthesisBlock(n_in, first, w_dim, middle, 3, half=half, clamp=clamp, up=shape.first_doubles)
        self.block1 = SynthesisBlock(first, last, w_dim, shape.resolution, 3, half=half, clamp=clamp)
        if shape.has_filter:
            self.register_buffer("resample_filter", smoothing_filter())

    def forward(self, image: Tensor, features: Tensor, ws: Tensor, noise: bool, half: bool = True) -> Tensor:
        """Map image [B, 3, R, R], features [B, n_in, R, R] and styles ws [B, n_ws, w_dim] to the final picture."""
        size = self.shape.input_resolution
        if features.shape[-1] != size:
            features, image = (
                functional.interpolate(x, (size, size), mode="bilinear", align_corners=False, antialias=self.antialias)
                for x in (features, image)
            )
        last = ws[:, -1:].expand(-1, 3, -1)
        features = features.contiguous(memory_format=torch.channels_last)  # large convolutions take two thirds as long
        x, image = self.block0(features, image, last, noise, half)
        return self.block1(x, image, last, noise, half)[1]
