"""DDIM sampling and its noise."""

from __future__ import annotations

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from headforge.diffusion.loss import N_STEPS, signal_and_noise, velocity
from headforge.diffusion.sample import ddim, ddim_steps, initial_noise


def test_steps_go_from_pure_noise_to_the_clean_latent() -> None:
    assert ddim_steps(20)[:3] == [1000, 950, 900]
    assert ddim_steps(20)[-2:] == [50, 0]


def test_a_perfect_predictor_recovers_the_clean_latent() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(2, 3, 4, 4, generator=generator) for _ in range(2))
    found = ddim(lambda _, step: velocity(clean, noise, step), noise, 20)
    torch.testing.assert_close(found, clean, atol=1e-5, rtol=1e-5)


def test_agrees_with_diffusers() -> None:
    noise = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(3))

    def predict(noisy: Tensor, step: Tensor) -> Tensor:
        return 0.3 * torch.tanh(noisy) * (1 + step.view(-1, 1, 1, 1) / N_STEPS)

    scheduler = DDIMScheduler(
        num_train_timesteps=N_STEPS, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=True,
        timestep_spacing="trailing",
    )  # fmt: skip
    scheduler.alphas_cumprod = signal_and_noise(torch.arange(1, N_STEPS + 1))[0].flatten() ** 2
    scheduler.set_timesteps(20)
    noisy = noise
    for t in scheduler.timesteps:
        noisy = scheduler.step(predict(noisy, t + 1), int(t), noisy).prev_sample
    torch.testing.assert_close(ddim(predict, noise, 20), noisy, atol=1e-4, rtol=1e-4)


def test_noise_depends_on_seed_subject_and_view_alone() -> None:
    first = initial_noise(0, "000001", 4, (2, 3, 3))
    torch.manual_seed(123)
    assert torch.equal(first, initial_noise(0, "000001", 4, (2, 3, 3)))
    others = [initial_noise(1, "000001", 4, (2, 3, 3)), initial_noise(0, "000002", 4, (2, 3, 3)),
              initial_noise(0, "000001", 5, (2, 3, 3))]  # fmt: skip
    assert not any(torch.equal(first, other) for other in others)
