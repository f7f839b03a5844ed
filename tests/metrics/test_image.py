from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchmetrics.functional.image as reference

from headforge.errors import ShapeError
from headforge.metrics.image import MAX_PSNR_DB, l1, psnr, ssim, ssim_map


def pictures(seed: int, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(3, 3, size, size + 5, generator=generator, dtype=torch.float64)
    noise = torch.randn(a.shape, generator=generator, dtype=torch.float64)
    return a, (a + 0.1 * noise).clamp(0, 1)


def test_psnr_and_ssim_agree_with_torchmetrics() -> None:
    """torchmetrics averages SSIM over a map continued by reflection; inside the rim both maps are the same."""
    a, b = pictures(0)
    for i in range(len(a)):
        x, y = a[i : i + 1], b[i : i + 1]
        assert float(psnr(a, b)[i]) == pytest.approx(float(reference.peak_signal_noise_ratio(x, y, data_range=1.0)))
        _, full = reference.structural_similarity_index_measure(x, y, data_range=1.0, return_full_image=True)
        torch.testing.assert_close(ssim_map(x, y), full[..., 5:-5, 5:-5])


def test_ssim_agrees_with_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    a, b = pictures(1)
    expected = metrics.structural_similarity(
        a[0].numpy(), b[0].numpy(), channel_axis=0, data_range=1.0,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    assert float(ssim(a, b)[0]) == pytest.approx(float(expected), abs=1e-7)


def test_equal_pictures_have_the_best_values() -> None:
    a, _ = pictures(2)
    assert psnr(a, a).tolist() == pytest.approx([MAX_PSNR_DB] * 3)
    assert ssim(a, a).tolist() == pytest.approx([1.0] * 3)
    assert l1(a, a).tolist() == [0.0] * 3


def test_known_values() -> None:
    a, b = torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.6)
    assert float(psnr(a, b)) == pytest.approx(20.0, abs=1e-4)
    assert float(l1(a, b)) == pytest.approx(0.1, abs=1e-6)


def test_a_mask_counts_its_own_pixels_only() -> None:
    a, b = pictures(3)
    mask = torch.zeros(3, 32, 37)
    mask[:, 8:20, 10:30] = 1
    inside = (a - b)[:, :, 8:20, 10:30]
    expected = [-10 * math.log10(float(x.square().mean())) for x in inside]
    assert psnr(a, b, mask).tolist() == pytest.approx(expected)
    assert l1(a, b, mask).tolist() == pytest.approx([float(x.abs().mean()) for x in inside])
    changed = torch.where(mask[:, None] > 0, b, 1 - b)
    torch.testing.assert_close(psnr(a, changed, mask), psnr(a, b, mask))


def test_masked_ssim_is_the_mean_of_the_map_over_the_mask() -> None:
    a, b = pictures(4)
    mask = torch.zeros(3, 32, 37, dtype=torch.bool)
    mask[:, 8:20, 10:30] = True
    expected = ssim_map(a, b)[:, :, 3:15, 5:25].mean((1, 2, 3))
    torch.testing.assert_close(ssim(a, b, mask), expected)
    torch.testing.assert_close(ssim(a, b, torch.ones(3, 32, 37)), ssim(a, b))


def test_an_empty_mask_has_no_value() -> None:
    a, b = pictures(5)
    for metric in (psnr, ssim, l1):
        assert torch.isnan(metric(a, b, torch.zeros(3, 32, 37))).all()


def test_other_shapes_are_refused() -> None:
    a, b = pictures(6)
    for arguments in ((a[0], b[0]), (a, b[:, :, 1:]), (a, b, torch.ones(3, 32, 36))):
        with pytest.raises(ShapeError):
            psnr(*arguments)


def test_values_are_the_same_each_time() -> None:
    a, b = pictures(7)
    assert all(torch.equal(metric(a, b), metric(a, b)) for metric in (psnr, ssim, l1))
    assert np.isfinite(ssim(a.float(), b.float()).numpy()).all()
