"""A fixed linear codec between pictures and latents: principal components of square patches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from headforge.errors import ShapeError


class PatchPCA(nn.Module):
    """Maps `patch` x `patch` RGB patches to their first K principal components and back.

    Each component is divided by its standard deviation to the power `WHITENING`; no parameters are trained.
    """

    WHITENING = 0.5
    """1 would weight fine detail as much as base colours; 0 would leave it far below the noise."""

    mean: Tensor
    """[3 * patch * patch]"""
    components: Tensor
    """[K, 3 * patch * patch], orthonormal rows."""
    scales: Tensor
    """[K] divisors of the components."""
    deviations: Tensor
    """[K] standard deviations of the latents the codec was fitted to."""

    def __init__(self, patch: int, n_components: int) -> None:
        super().__init__()
        self.patch = patch
        size = 3 * patch * patch
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("components", torch.zeros(n_components, size))
        self.register_buffer("scales", torch.ones(n_components))
        self.register_buffer("deviations", torch.ones(n_components))

    @staticmethod
    def fit(images: np.ndarray, patch: int, n_components: int) -> PatchPCA:
        """Fit the codec to images [N, H, W, 3] uint8; the result is the same on every machine up to rounding.

        Runs on the CPU. Sums are in float64, and each component's sign makes its largest entry positive.
        """
        with torch.device("cpu"):
            codec = PatchPCA(patch, n_components)
        size = 3 * patch * patch
        total, products, count = np.zeros(size), np.zeros((size, size)), 0
        for image in images:
            height, width = image.shape[:2]
            blocks = image.reshape(height // patch, patch, width // patch, patch, 3).transpose(0, 2, 4, 1, 3)
            rows = blocks.reshape(-1, size).astype(np.float64) / 255
            total += rows.sum(0)
            products += rows.T @ rows
            count += len(rows)
        mean = total / count
        values, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
        order = np.argsort(values)[::-1][:n_components]
        components = vectors[:, order].T
        largest = components[np.arange(n_components), np.abs(components).argmax(1)]
        components = components * np.sign(largest)[:, None]
        deviation = np.sqrt(np.maximum(values[order], 1e-8))
        codec.mean.copy_(torch.from_numpy(mean))
        codec.components.copy_(torch.from_numpy(components.copy()))
        codec.scales.copy_(torch.from_numpy(deviation**PatchPCA.WHITENING))
        codec.deviations.copy_(torch.from_numpy(deviation ** (1 - PatchPCA.WHITENING)))
        return codec

    def encode(self, images: Tensor) -> Tensor:
        """Encode images [B, 3, H, W] in [0, 1] as latents [B, K, H / patch, W / patch]."""
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % self.patch or images.shape[3] % self.patch:
            raise ShapeError("images", f"[B, 3, H, W] with H and W multiples of {self.patch}", tuple(images.shape))
        patches = nn.functional.pixel_unshuffle(images, self.patch)
        weights = self.components / self.scales[:, None]
        return torch.einsum("kc,bchw->bkhw", weights, patches - self.mean[:, None, None])

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents [B, K, h, w] to images [B, 3, h * patch, w * patch], not clipped."""
        weights = self.components * self.scales[:, None]
        patches = torch.einsum("kc,bkhw->bchw", weights, latents) + self.mean[:, None, None]
        return nn.functional.pixel_shuffle(patches, self.patch)
