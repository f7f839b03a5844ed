"""Reference attention, guider injection and tokens."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0

from headforge.diffusion.config import DOMAINS, NetworkConfig
from headforge.diffusion.loss import input_scale, velocity_skip
from headforge.diffusion.networks.attention import Exchange, SharedSelfAttention, pool_control
from headforge.diffusion.networks.guider import PoseGuider
from headforge.diffusion.networks.network import RESIDUAL_SHARE, Learn2Control, build_unet, run_unet
from headforge.errors import ConfigError
from tests.diffusion.conftest import NETWORK, seeded_model

R, M = 2, 2


def inputs(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    size = (NETWORK.n_components, NETWORK.latent_size, NETWORK.latent_size)
    control = (NETWORK.control_channels + 1, NETWORK.image_size, NETWORK.image_size)
    return {
        "reference": torch.randn(R, *size, generator=generator),
        "reference_control": torch.randn(R, *control, generator=generator),
        "noisy": torch.randn(R * M, *size, generator=generator),
        "control": torch.randn(R * M, *control, generator=generator),
        "step": torch.tensor([900, 500, 300, 10]),
        "domain": torch.ones(R * M, dtype=torch.int64),
    }


@torch.no_grad()
def predict(model: Learn2Control, with_reference: bool = True, **changes: torch.Tensor) -> torch.Tensor:
    x = {**inputs(), **changes}
    reference = None
    if with_reference:
        reference = model.encode_reference(x["reference"], x["reference_control"], x["domain"][:R])
    return model.predict_velocity(x["noisy"], x["step"], x["control"], x["domain"], reference, M)


def test_without_guidance_and_exchange_it_is_the_plain_unet() -> None:
    unet = build_unet(NETWORK).eval()
    torch.nn.init.normal_(unet.conv_out.weight)
    x = inputs()
    context = torch.randn(R * M, 1, NETWORK.token_dim, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = run_unet(unet, x["noisy"], x["step"], context)
        plain = unet(x["noisy"], x["step"], encoder_hidden_states=context).sample
    assert torch.equal(ours, plain)


def test_our_processors_without_reference_and_control_equal_diffusers_own() -> None:
    model = seeded_model()
    for name, parameter in model.denoiser.named_parameters():
        if "control_" in name:
            torch.nn.init.zeros_(parameter)
    found = predict(model, with_reference=False)
    model.denoiser.set_attn_processor(AttnProcessor2_0())
    x, deviations = inputs(), model.codec.deviations
    with torch.no_grad():
        sample = x["noisy"] * input_scale(x["step"], deviations)
        plain = run_unet(model.denoiser, sample, x["step"], model.tokens(x["domain"])[:, None])
    plain = plain + velocity_skip(x["step"], RESIDUAL_SHARE * deviations) * x["noisy"]
    torch.testing.assert_close(found, plain, atol=1e-4, rtol=1e-4)


def test_a_fresh_guider_changes_nothing() -> None:
    model = seeded_model()
    before = predict(model)
    fresh = PoseGuider(NETWORK.control_channels + 1, NETWORK.patch, (16, 16, 16), (1, 2, 1))
    model.guider = fresh
    assert torch.equal(predict(model), before)
    torch.nn.init.normal_(model.guider.projections[1].weight)
    assert not torch.equal(predict(model), before)


def test_each_guider_level_fits_its_place() -> None:
    model = seeded_model()
    x = inputs()
    shapes = [tuple(feature.shape[1:]) for feature in model.guider(x["control"])]
    assert shapes == [(16, 4, 4), (16, 2, 2), (16, 2, 2)]


def test_the_reference_is_used() -> None:
    model = seeded_model()
    before = predict(model)
    assert not torch.allclose(predict(model, with_reference=False), before, atol=1e-4)
    other = inputs()["reference"].clone()
    other[1] += 1
    after = predict(model, reference=other)
    assert torch.equal(after[:M], before[:M]), "the first reference's targets don't see the second reference"
    assert not torch.allclose(after[M:], before[M:], atol=1e-4)


def test_the_references_own_control_is_used() -> None:
    model = seeded_model()
    changed = predict(model, reference_control=inputs(seed=5)["reference_control"])
    assert not torch.allclose(changed, predict(model), atol=1e-5)


def test_attention_starts_by_matching_places_on_the_head() -> None:
    model = seeded_model()
    matched = [m for m in model.denoiser.modules() if isinstance(m, SharedSelfAttention)]
    assert len(matched) == 6
    for processor in matched:
        places = torch.eye(NETWORK.control_channels + 1)[:8]
        scores = processor.control_q(places) @ processor.control_k(places).T
        assert scores.diagonal().min() > scores.fill_diagonal_(-1).max()


def test_both_domains_have_their_token() -> None:
    model = seeded_model()
    real = torch.full((R * M,), DOMAINS.index("real"))
    assert not torch.allclose(predict(model, domain=real), predict(model), atol=1e-5)


def test_every_self_attention_hands_over_its_states() -> None:
    model = seeded_model()
    x = inputs()
    with torch.no_grad():
        reference = model.encode_reference(x["reference"], x["reference_control"], x["domain"][:R])
    names = {name.removesuffix(".processor") for name in model.denoiser.attn_processors if "attn1" in name}
    assert set(reference.states) == names
    assert all(states.shape[0] == R for states in reference.states.values())


def test_control_is_averaged_to_tokens() -> None:
    control = torch.arange(16.0).reshape(1, 1, 4, 4)
    tokens = pool_control(control, (4, 2))
    assert tokens[4][0, :, 0].tolist() == [2.5, 4.5, 10.5, 12.5]
    assert Exchange(tokens).control[16].shape == (1, 16, 1)


def test_every_trained_tensor_gets_a_gradient() -> None:
    model = seeded_model()
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.ndim > 1 and float(parameter.detach().abs().sum()) == 0:
            torch.nn.init.normal_(parameter, std=0.1)
    x = inputs()
    reference = model.encode_reference(x["reference"], x["reference_control"], x["domain"][:R])
    model.predict_velocity(x["noisy"], x["step"], x["control"], x["domain"], reference, M).square().sum().backward()
    silent = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None and ".norm2." not in n}
    # Control maps were given here; what follows the reference branch's last shared attention has no reader, nor have
    # the queries of cross-attention to a single token (their norm2 was left out above).
    tail = ("field.", "reference.up_blocks.1.attentions.1.", "reference.conv_")
    assert [n for n in silent if not n.startswith(tail)] == []


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError) as error:
        NetworkConfig(image_size=20)
    assert error.value.key == "train.image_size" and "multiple of 8" in error.value.help
