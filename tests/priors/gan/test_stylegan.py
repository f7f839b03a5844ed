"""Mapping and synthesis against their definitions, and which style steers which layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headforge.priors.gan.layers import convolve, upsample
from headforge.priors.gan.stylegan import Mapping, Synthesis, SynthesisLayer, SynthesisSettings

SETTINGS = SynthesisSettings(w_dim=6, resolution=16, n_channels=3, channel_base=128, channel_max=8)


def _unit(x: Tensor) -> Tensor:
    return x / x.square().mean(1, keepdim=True).sqrt()


def _lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x) * 2**0.5


def test_mapping_is_its_definition() -> None:
    torch.manual_seed(0)
    mapping = Mapping(z_dim=5, c_dim=4, w_dim=6, n_ws=3, n_layers=2)
    for layer in (mapping.embed, mapping.fc0, mapping.fc1):
        layer.bias.data.normal_()
    z, label = torch.randn(2, 5), torch.randn(2, 4)
    embedded = label @ mapping.embed.weight.T / 2 + mapping.embed.bias
    x = torch.cat([_unit(z), _unit(embedded)], 1)
    for layer, n_in in ((mapping.fc0, 11), (mapping.fc1, 6)):
        x = _lrelu(x @ (layer.weight * 0.01 / n_in**0.5).T + 0.01 * layer.bias)
    ws = mapping(z, label)
    assert ws.shape == (2, 3, 6)
    assert torch.allclose(ws, x[:, None].expand(2, 3, 6), atol=1e-6)


@pytest.mark.parametrize("noise", [True, False])
@pytest.mark.parametrize("up", [True, False])
def test_a_layer_is_its_definition(up: bool, noise: bool) -> None:
    torch.manual_seed(0)
    layer = SynthesisLayer(4, 5, w_dim=6, resolution=8, up=up, clamp=0.7)
    layer.noise_strength.data.fill_(0.5)
    layer.bias.data.normal_()
    layer.affine.bias.data.normal_(1.0)
    x, w = torch.randn(1, 4, 4 if up else 8, 4 if up else 8), torch.randn(1, 6)
    style = w @ layer.affine.weight.T / 6**0.5 + layer.affine.bias
    weight = layer.weight * style[0, :, None, None]
    weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
    added = 0.5 * layer.noise_const if noise else 0.0
    expected = _lrelu(convolve(x, weight, up) + added + layer.bias[:, None, None]).clamp(-0.7, 0.7)
    with torch.no_grad():
        found = layer(x, w, noise)
    assert torch.allclose(found, expected, atol=1e-5)
    assert float(found.abs().max()) == pytest.approx(0.7)


def test_each_layer_has_its_style_and_pictures_add_up() -> None:
    torch.manual_seed(0)
    network = Synthesis(SETTINGS)
    ws = torch.randn(1, network.n_ws, 6)
    assert network.n_ws == 6 and network.resolutions == [4, 8, 16]
    x, image = network.b4(None, None, ws[:, 0:2], True)
    added = image
    for block, first in ((network.b8, 1), (network.b16, 3)):
        x, own = block(x, None, ws[:, first : first + 3], True)
        added = upsample(added) + own
    assert torch.allclose(network(ws), added, atol=1e-5)


def test_half_precision_is_for_the_highest_resolutions() -> None:
    blocks = Synthesis(SynthesisSettings(6, 64, 3, 128, 8, n_half_resolutions=2)).named_children()
    assert [name for name, block in blocks if block.half_on_cuda] == ["b32", "b64"]
    blocks = Synthesis(SynthesisSettings(6, 16, 3, 128, 8, n_half_resolutions=9)).named_children()
    assert [name for name, block in blocks if block.half_on_cuda] == ["b8", "b16"]
