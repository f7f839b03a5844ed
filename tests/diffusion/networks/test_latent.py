"""The patch codec."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headforge.diffusion.networks.latent import PatchPCA
from headforge.errors import ShapeError


def smooth_images(n: int = 8, size: int = 32) -> np.ndarray:
    """[n, size, size, 3] uint8 of slow waves."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size] / size
    waves = [np.sin(6 * (rng.normal() * rows + rng.normal() * columns) + rng.normal()) for _ in range(3 * n)]
    return ((np.stack(waves).reshape(n, 3, size, size).transpose(0, 2, 3, 1) + 1) * 127).astype(np.uint8)


def as_tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def test_all_components_lose_nothing() -> None:
    images = smooth_images()
    codec = PatchPCA.fit(images, 4, 48)
    pictures = as_tensor(images)
    torch.testing.assert_close(codec.decode(codec.encode(pictures)), pictures, atol=2e-4, rtol=0)


def test_few_components_keep_smooth_pictures() -> None:
    images = smooth_images()
    codec = PatchPCA.fit(images, 4, 16)
    error = codec.decode(codec.encode(as_tensor(images))) - as_tensor(images)
    assert float(-10 * error.square().mean().log10()) > 35


def test_components_are_orthonormal_and_latents_centred() -> None:
    images = smooth_images()
    codec = PatchPCA.fit(images, 4, 12)
    torch.testing.assert_close(codec.components @ codec.components.T, torch.eye(12), atol=1e-5, rtol=0)
    latents = codec.encode(as_tensor(images))
    assert latents.shape == (8, 12, 8, 8)
    assert float(latents.mean((0, 2, 3)).abs().max()) < 0.02
    deviations = latents.std((0, 2, 3))
    assert bool((deviations[:-1] >= 0.99 * deviations[1:]).all()), "earlier components carry more"


def test_the_fit_is_the_same_every_time() -> None:
    first, second = (PatchPCA.fit(smooth_images(), 4, 16) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.buffers(), second.buffers(), strict=True))
    largest = first.components.gather(1, first.components.abs().argmax(1, keepdim=True))
    assert bool((largest > 0).all())


def test_a_size_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ShapeError):
        PatchPCA(4, 8).encode(torch.zeros(1, 3, 30, 32))
