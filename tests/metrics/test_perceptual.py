"""`perceptual_mini`: a second implementation of its formula, and plausible ranking of changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate, uniform_filter

from headforge.errors import ConfigError, ShapeError
from headforge.metrics.config import PERCEPTUAL, EvaluateConfig
from headforge.metrics.perceptual import BUILTIN, PerceptualMini, gabor_bank, perceptual_protocol
from headforge.metrics.protocol import Protocol
from headforge.settings import params_of

data = pytest.importorskip("skimage.data")


@pytest.fixture(scope="module")
def portrait() -> torch.Tensor:
    """[1, 3, 96, 96] float64."""
    return torch.from_numpy(data.astronaut()[20:212:2, 128:320:2].copy()).permute(2, 0, 1)[None].double() / 255


def features(image: np.ndarray) -> np.ndarray:
    """[7, H, W] of an image [H, W, 3], by scipy."""
    luma = image @ [0.299, 0.587, 0.114]
    bank = gabor_bank()[:, 0].numpy()
    even, odd = (np.stack([correlate(luma, k, mode="nearest") for k in half]) for half in (bank[:4], bank[4:]))
    red, green, blue = np.moveaxis(image, -1, 0)
    red_green, yellow_blue = (red - green) / 2, (red + green) / 4 - blue / 2
    surround = uniform_filter(luma, 7, mode="nearest")
    found = np.stack([*np.hypot(even, odd), luma - surround, red_green, yellow_blue])
    return found / (np.sqrt((found**2).sum(0)) + 0.05)


def halved(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[0] // 2, image.shape[1] // 2
    return image[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean((1, 3))


def test_value_of_the_formula_written_out() -> None:
    a, b = torch.rand(2, 1, 3, 41, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, y = (image[0].permute(1, 2, 0).numpy() for image in (a, b))
    total = 0.0
    for scale in range(4):
        x, y = (halved(x), halved(y)) if scale else (x, y)
        total += ((features(x) - features(y)) ** 2).sum(0).mean() / 4
    assert float(PerceptualMini()(a, b)) == pytest.approx(total, rel=1e-9)


def test_filters_answer_to_edges_of_their_direction_and_to_nothing_flat() -> None:
    bank = gabor_bank()
    assert bank.sum((1, 2, 3)).abs().max() < 1e-9
    stripes = torch.cos(2 * torch.pi / 4 * torch.arange(7.0, dtype=torch.float64))
    energies = [float((k[0] * stripes[None, :]).sum() ** 2) for k in bank]
    assert int(np.argmax(np.add(energies[:4], energies[4:]))) == 0


def test_changes_are_ranked(portrait: torch.Tensor) -> None:
    distance, generator = PerceptualMini(), torch.Generator().manual_seed(1)
    noise = torch.randn(portrait.shape, generator=generator, dtype=torch.float64)

    def blurred(sigma: float) -> torch.Tensor:
        size = 2 * int(3 * sigma) + 1
        kernel = torch.exp(-((torch.arange(size, dtype=torch.float64) - size // 2) ** 2) / (2 * sigma**2))
        kernel = (kernel / kernel.sum())[None, None]
        padded = torch.nn.functional.pad(portrait, (size // 2,) * 4, mode="replicate")
        rows = torch.nn.functional.conv2d(padded, kernel[..., None, :].expand(3, 1, 1, -1), groups=3)
        return torch.nn.functional.conv2d(rows, kernel[..., None].expand(3, 1, -1, 1), groups=3)

    for changed in ([blurred(s) for s in (0.7, 1.5, 3.0)], [portrait + s * noise for s in (0.01, 0.05, 0.2)]):
        values = [float(distance(portrait, image)) for image in changed]
        assert 0 < values[0] < values[1] < values[2]
    lighter = (portrait + 0.05).clamp(0, 1)
    assert float(distance(portrait, lighter)) < float(distance(portrait, blurred(1.5)))
    assert (portrait - lighter).abs().mean() > (portrait - blurred(1.5)).abs().mean(), "plain differences say otherwise"


def test_equal_pictures_have_no_distance_and_order_does_not_matter(portrait: torch.Tensor) -> None:
    distance, other = PerceptualMini(), portrait.flip(3)
    assert float(distance(portrait, portrait)) == 0
    assert float(distance(portrait, other)) == pytest.approx(float(distance(other, portrait)))
    both = distance(torch.cat([portrait, other]), torch.cat([other, other]))
    assert float(both[0]) == pytest.approx(float(distance(portrait, other))) and float(both[1]) == 0


def test_it_never_takes_the_name_of_lpips() -> None:
    base = Protocol("", "headforge", resolution_px=64)
    protocol = perceptual_protocol(PerceptualMini(), base)
    assert protocol.metric == "perceptual_mini" and protocol.resolution_px == 64 and protocol.weights_sha256 == ""
    assert all("lpips" not in make().metric for make in BUILTIN.values())


def test_the_setting_is_none_by_default_and_changes_no_recipe() -> None:
    assert "perceptual" not in params_of(EvaluateConfig())
    assert all(EvaluateConfig(perceptual=name) for name in PERCEPTUAL)
    with pytest.raises(ConfigError):
        EvaluateConfig(perceptual="lpips")


def test_tiny_pictures_are_refused() -> None:
    with pytest.raises(ShapeError):
        PerceptualMini()(torch.zeros(1, 3, 7, 64), torch.zeros(1, 3, 7, 64))
