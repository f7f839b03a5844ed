"""The schedule and v-prediction."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headforge.diffusion.loss import (
    MAX_SNR,
    N_STEPS,
    add_noise,
    clean_from_velocity,
    input_scale,
    noise_from_velocity,
    signal_and_noise,
    stratified_steps,
    velocity,
    velocity_loss,
    velocity_skip,
)


@given(st.lists(st.integers(0, N_STEPS), min_size=1, max_size=5), st.integers(0, 99))
def test_velocity_gives_back_signal_and_noise(steps: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    step = torch.tensor(steps)
    clean, noise = (torch.randn(len(steps), 2, 3, 3, generator=generator) for _ in range(2))
    noisy, v = add_noise(clean, noise, step), velocity(clean, noise, step)
    torch.testing.assert_close(clean_from_velocity(noisy, v, step), clean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(noise_from_velocity(noisy, v, step), noise, atol=1e-5, rtol=1e-5)


def test_both_ends_of_the_schedule_are_exact() -> None:
    signal, noise = signal_and_noise(torch.tensor([0, N_STEPS]))
    assert signal.flatten().tolist() == [1.0, 0.0]
    assert noise.flatten().tolist() == [0.0, 1.0]


def test_variance_is_preserved() -> None:
    signal, noise = signal_and_noise(torch.arange(N_STEPS + 1))
    torch.testing.assert_close(signal**2 + noise**2, torch.ones_like(signal))


def test_velocity_is_the_derivative_along_the_path() -> None:
    clean, noise = torch.randn(2, 1, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    before, after = (add_noise(clean, noise, torch.tensor([step])) for step in (399, 401))
    derivative = (after - before) / (2 * torch.pi / 2 / N_STEPS)
    torch.testing.assert_close(derivative, velocity(clean, noise, torch.tensor([400])), atol=1e-3, rtol=1e-3)


def test_the_skip_is_the_linear_regression_of_velocity_on_the_noisy_latent() -> None:
    generator = torch.Generator().manual_seed(0)
    deviations = torch.tensor([0.3, 1.0, 2.0])
    clean = torch.randn(1, 3, 400, 400, generator=generator) * deviations[:, None, None]
    noise = torch.randn(1, 3, 400, 400, generator=generator)
    for t in (50, 500, 950):
        step = torch.tensor([t])
        noisy, v = add_noise(clean, noise, step), velocity(clean, noise, step)
        slope = (v * noisy).mean((2, 3)) / noisy.square().mean((2, 3))
        torch.testing.assert_close(velocity_skip(step, deviations)[0, :, 0, 0], slope[0], atol=0.02, rtol=0.02)
        scaled = noisy * input_scale(step, deviations)
        torch.testing.assert_close(scaled.std((2, 3)), torch.ones(1, 3), atol=0.01, rtol=0)


def test_the_skip_of_unit_variance_vanishes_and_a_known_latent_is_recovered() -> None:
    step = torch.tensor([1, 300, N_STEPS])
    assert float(velocity_skip(step, torch.ones(2)).abs().max()) < 1e-6
    noisy = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    v = velocity_skip(step, torch.full((2,), 1e-4)) * noisy
    # A latent known to be zero: the skip alone removes all of the noise.
    assert float(clean_from_velocity(noisy, v, step).abs().max()) < 0.02


@pytest.mark.parametrize("n", [1, 4, 20])
def test_training_steps_cover_the_range_evenly(n: int) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([stratified_steps(n, generator) for _ in range(200)])
    assert int(drawn.min()) >= 1 and int(drawn.max()) <= N_STEPS
    strata = ((drawn - 1) * n).div(N_STEPS, rounding_mode="floor").sort(dim=1).values
    assert torch.equal(strata, torch.arange(n).expand(200, n))
    # No place in the batch is tied to a noise level.
    assert n == 1 or int(drawn[:, 0].max()) > 0.9 * N_STEPS


def test_the_loss_weighs_the_clean_latents_error_up_to_a_limit() -> None:
    clean, noise = torch.randn(2, 1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    for t, expected in ((N_STEPS, 1.0), (700, None), (50, MAX_SNR + 1)):
        step = torch.tensor([t])
        signal, deviation = (float(x.squeeze()) for x in signal_and_noise(step))
        error = 0.3
        # A prediction of v whose clean latent is off by `error` everywhere.
        predicted = velocity(clean, noise, step) + error / deviation
        loss = float(velocity_loss(predicted, clean, noise, step))
        weight = (signal / deviation) ** 2 + 1 if expected is None else expected
        assert loss == pytest.approx(weight * error**2, rel=1e-3)
    assert float(velocity_loss(velocity(clean, noise, step), clean, noise, step)) == 0
