"""Perceptual distance of two pictures: LPIPS where its weights are available, and a small substitute with its own name.

`perceptual_mini` is neither LPIPS nor a network: it compares responses of fixed filters. It ranks blur, noise and other
strong changes plausibly; its values are not comparable with published LPIPS values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol as Interface

import torch
from torch import Tensor

from headforge.errors import ShapeError
from headforge.metrics.protocol import Protocol

MINI = "perceptual_mini"
N_SCALES = 4
N_ORIENTATIONS = 4
KERNEL_SIZE = 7
WAVELENGTH_PX, WIDTH_PX = 4.0, 1.75
"""Of the Gabor filters, at the resolution of each scale; the width is a standard deviation."""
MIN_SIDE_PX = 2 ** (N_SCALES - 1)
CONTRAST_FLOOR = 0.05
"""Responses far below this length count as no structure, so that flat background has no weight."""
OPPONENT = ((0.299, 0.587, 0.114), (0.5, -0.5, 0.0), (0.25, 0.25, -0.5))
"""Luma, red against green, yellow against blue; rows over RGB."""


class PerceptualDistance(Interface):
    """A metric of perceived difference with the fields of its protocol."""

    @property
    def metric(self) -> str:
        """Metric id, such as "lpips_alex"."""
        ...

    @property
    def backend(self) -> str:
        """Software that computes it."""
        ...

    @property
    def weights_sha256(self) -> str:
        """Of the network's weights; empty if there are none."""
        ...

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance [B] of pictures [B, 3, H, W] in [0, 1]; 0 for equal ones."""
        ...


class PerceptualMini:
    """Differences of edge energies and colours at four scales."""

    metric = MINI
    backend = "headforge"
    weights_sha256 = ""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance [B] of pictures [B, 3, H, W] in [0, 1], at least 8 pixels wide and high; 0 for equal
        ones.

        At each scale (halved by area) a pixel has the energies of Gabor pairs in four directions on the luma, the
        luma's difference from its surround, and two opponent colours; the vector is divided by its length plus
        `CONTRAST_FLOOR`. The distance is the mean over pixels of the squared difference, and the mean over scales.
        """
        for name, image in (("a", a), ("b", b)):
            if image.ndim != 4 or image.shape[1] != 3 or image.shape != a.shape or min(image.shape[2:]) < MIN_SIDE_PX:
                raise ShapeError(name, "[B, 3, H, W], both the same, at least 8 x 8", tuple(image.shape))
        distances = []
        for scale in range(N_SCALES):
            if scale:
                a, b = (torch.nn.functional.avg_pool2d(image, 2) for image in (a, b))
            distances.append((_features(a) - _features(b)).square().sum(1).mean((1, 2)))
        return torch.stack(distances).mean(0)


def gabor_bank(dtype: torch.dtype = torch.float64) -> Tensor:
    """Return the filters [2 * N_ORIENTATIONS, 1, K, K] on the CPU: zero-mean even, then odd ones, of unit length."""
    offsets = torch.arange(KERNEL_SIZE, dtype=torch.float64, device="cpu") - KERNEL_SIZE // 2
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    window = torch.exp(-(x.square() + y.square()) / (2 * WIDTH_PX**2))
    even, odd = [], []
    for index in range(N_ORIENTATIONS):
        angle = math.pi * index / N_ORIENTATIONS
        phase = 2 * math.pi / WAVELENGTH_PX * (math.cos(angle) * x + math.sin(angle) * y)
        wave = window * torch.cos(phase)
        even.append(wave - window * wave.sum() / window.sum())
        odd.append(window * torch.sin(phase))
    return torch.stack([kernel / kernel.norm() for kernel in even + odd])[:, None].to(dtype)


def _features(image: Tensor) -> Tensor:
    """Return the normalised features [B, N_ORIENTATIONS + 3, H, W]."""
    colours = torch.einsum("oc,bchw->bohw", torch.tensor(OPPONENT, dtype=image.dtype, device=image.device), image)
    luma, chroma = colours[:, :1], colours[:, 1:]
    rim = KERNEL_SIZE // 2
    padded = torch.nn.functional.pad(luma, (rim, rim, rim, rim), mode="replicate")
    bank = gabor_bank(image.dtype).to(image.device)
    even, odd = torch.nn.functional.conv2d(padded, bank).chunk(2, dim=1)
    surround = torch.nn.functional.avg_pool2d(padded, KERNEL_SIZE, stride=1)
    found = torch.cat([(even.square() + odd.square()).sqrt(), luma - surround, chroma], dim=1)
    return found / (found.norm(dim=1, keepdim=True) + CONTRAST_FLOOR)


def perceptual_protocol(distance: PerceptualDistance, base: Protocol) -> Protocol:
    """Return `base` with the id, the backend and the SHA-256 of the weights of the distance."""
    changes = {"metric": distance.metric, "backend": distance.backend, "weights_sha256": distance.weights_sha256}
    return Protocol(**{**base.as_json(), **changes})  # pyright: ignore[reportArgumentType]


BUILTIN: Mapping[str, Callable[[], PerceptualDistance]] = {"mini": PerceptualMini}
"""Distances without weights, by their name in the settings."""
