"""PSNR, SSIM and L1 of colour pictures in [0, 1], whole or inside a mask."""

from __future__ import annotations

import torch
from torch import Tensor

from headforge.errors import ShapeError

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2
MAX_PSNR_DB = 100.0
"""PSNR of equal pictures, so that means stay finite."""


def l1(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean absolute difference [B] of pictures [B, 3, H, W], over a mask [B, H, W] in {0, 1} if given."""
    _check(a, b, mask)
    return _mean((a - b).abs(), mask)


def psnr(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the peak signal-to-noise ratio [B] in dB, -10 log10 MSE, at most `MAX_PSNR_DB`.

    With a mask the squared error is divided by the mask's pixels x channels, not by the whole picture's.
    """
    _check(a, b, mask)
    mse = _mean((a - b).square(), mask)
    return -10 * torch.log10(mse.clamp_min(10 ** (-MAX_PSNR_DB / 10)))


def ssim(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the structural similarity [B] (Wang et al. 2004): 11x11 Gaussian window, sigma 1.5, mean over all values.

    The map covers the pixels whose window lies inside the picture; the mean is over channels and pixels, with a mask
    over its pixels only.
    """
    _check(a, b, mask)
    similarity = ssim_map(a, b)
    if mask is not None:
        rim = SSIM_WINDOW // 2
        mask = mask[:, rim:-rim, rim:-rim]
    return _mean(similarity, mask)


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """Return the SSIM per channel and pixel, [B, 3, H - 10, W - 10]."""
    mean_a, mean_b = _blur(a), _blur(b)
    var_a = _blur(a * a) - mean_a.square()
    var_b = _blur(b * b) - mean_b.square()
    covariance = _blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + SSIM_C1) / (mean_a.square() + mean_b.square() + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (var_a + var_b + SSIM_C2)
    return luminance * structure


def _blur(image: Tensor) -> Tensor:
    offsets = torch.arange(SSIM_WINDOW, dtype=image.dtype, device=image.device) - SSIM_WINDOW // 2
    kernel = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    kernel = kernel / kernel.sum()
    channels = image.shape[1]
    rows = kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    blurred = torch.nn.functional.conv2d(image, rows, groups=channels)
    return torch.nn.functional.conv2d(blurred, rows.transpose(2, 3), groups=channels)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean [B] over channels and the pixels of the mask; NaN for an empty mask."""
    if mask is None:
        return values.flatten(1).mean(1)
    weights = mask[:, None].to(values)
    return (values * weights).flatten(1).sum(1) / (weights.flatten(1).sum(1) * values.shape[1])


def _check(a: Tensor, b: Tensor, mask: Tensor | None) -> None:
    if a.ndim != 4:
        raise ShapeError("a", "[B, C, H, W]", tuple(a.shape))
    if a.shape != b.shape:
        raise ShapeError("b", str(list(a.shape)), tuple(b.shape))
    wanted = (a.shape[0], *a.shape[2:])
    if mask is not None and tuple(mask.shape) != wanted:
        raise ShapeError("mask", str(list(wanted)), tuple(mask.shape))
