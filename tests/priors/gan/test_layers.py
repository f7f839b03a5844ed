"""Modulated convolution and resampling against the definition: zeros inserted, filtered, convolved one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from headforge.priors.gan.layers import (
    FullyConnected,
    activate,
    convolve,
    modulated_conv,
    smooth,
    smoothing_filter,
    upsample,
)


def _insert_and_filter(x: Tensor, before: int, after: int) -> Tensor:
    """Zeros after every value, padding, and each channel filtered at four times the filter's magnitude."""
    batch, channels, height, width = x.shape
    large = torch.zeros(batch, channels, 2 * height, 2 * width)
    large[..., ::2, ::2] = x
    padded = functional.pad(large, (before, after, before, after))
    kernel = 4 * smoothing_filter()[None, None]
    return functional.conv2d(padded.flatten(0, 1)[:, None], kernel).unflatten(0, (batch, channels))[:, :, 0]


def _modulated_twin(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool, up: bool) -> Tensor:
    """Karras et al. 2020, equations 1 and 3, with weights of its own for each picture."""
    pictures = []
    for picture, scales in zip(x, style, strict=True):
        own = weight * scales[None, :, None, None]
        if demodulate:
            own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            pictures.append(functional.conv2d(_insert_and_filter(picture[None], 3, 2), own.flip(2, 3))[0])
        else:
            pictures.append(functional.conv2d(picture[None], own, padding=weight.shape[-1] // 2)[0])
    return torch.stack(pictures)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("demodulate", "up", "k"), [(True, False, 3), (True, True, 3), (False, False, 1)])
def test_modulated_convolution_is_its_definition(batch: int, demodulate: bool, up: bool, k: int) -> None:
    torch.manual_seed(0)
    x, weight, style = torch.randn(batch, 5, 6, 6), torch.randn(4, 5, k, k), 1 + torch.randn(batch, 5)
    found = modulated_conv(x, weight, style, demodulate, up)
    expected = _modulated_twin(x, weight, style, demodulate, up)
    assert found.shape == (batch, 4, 12 if up else 6, 12 if up else 6)
    assert torch.allclose(found, expected, atol=2e-5)


def test_half_precision_does_not_overflow() -> None:
    torch.manual_seed(0)
    x, weight, style = torch.randn(2, 5, 6, 6), 1e4 * torch.randn(4, 5, 3, 3), 1e4 * torch.randn(2, 5)
    found = modulated_conv(x.half(), weight, style)
    assert torch.allclose(found.float(), modulated_conv(x, weight, style), atol=0.02)


def test_upsampling_is_insertion_and_filter() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 7)
    assert torch.allclose(upsample(x), _insert_and_filter(x, 2, 1), atol=1e-6)


def test_smoothing_keeps_a_constant() -> None:
    inserted = torch.zeros(1, 2, 13, 13)
    inserted[..., ::2, ::2] = 1
    assert torch.allclose(smooth(inserted)[..., 2:-2, 2:-2], torch.ones(1, 2, 8, 8))
    assert smooth(inserted).shape[-1] == 12


def test_doubling_convolution_passes_gradients() -> None:
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: convolve(a, b, up=True), (x, weight))


def test_fully_connected_scales_weights_and_bias() -> None:
    torch.manual_seed(0)
    layer = FullyConnected(9, 4, is_linear=False, lr_multiplier=0.01, bias_init=2.0)
    x = torch.randn(3, 9)
    raw = x @ (layer.weight * 0.01 / 3).T + 2.0 * 0.01
    expected = torch.where(raw > 0, raw, 0.2 * raw) * 2**0.5
    assert torch.allclose(layer(x), expected, atol=1e-6)


@pytest.mark.parametrize("clamp", [None, 0.5])
def test_activation_in_place_is_the_one_with_gradients(clamp: float | None) -> None:
    torch.manual_seed(0)
    x, bias = torch.randn(2, 3, 4, 4), torch.randn(3)
    recorded = activate(x.clone().requires_grad_(), bias, clamp)
    with torch.no_grad():
        assert torch.allclose(activate(x.clone(), bias, clamp), recorded)
    raw = x + bias[:, None, None]
    expected = torch.where(raw > 0, raw, 0.2 * raw) * 2**0.5
    assert torch.allclose(recorded, expected if clamp is None else expected.clamp(-clamp, clamp))
