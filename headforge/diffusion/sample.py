"""DDIM sampling (Song et al. 2021, eta = 0) of a v-prediction model; the noise depends on the picture's key alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from headforge.diffusion.loss import N_STEPS, add_noise, clean_from_velocity, noise_from_velocity
from headforge.geometry.seeding import item_seed


def ddim_steps(n_steps: int) -> list[int]:
    """Return the descending steps from N_STEPS (pure noise) to 0, `n_steps` + 1 of them ("trailing" spacing)."""
    return [round(N_STEPS * i / n_steps) for i in range(n_steps, -1, -1)]


def ddim(predict_velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, n_steps: int) -> Tensor:
    """Sample clean latents [B, K, h, w] from `noise` of that shape.

    predict_velocity(noisy [B, K, h, w], step [B] int64) gives v of the same shape.
    """
    noisy = noise
    steps = ddim_steps(n_steps)
    for now, then in pairwise(steps):
        step = torch.full((len(noise),), now, dtype=torch.int64, device=noise.device)
        v = predict_velocity(noisy, step)
        clean = clean_from_velocity(noisy, v, step)
        noisy = add_noise(clean, noise_from_velocity(noisy, v, step), torch.full_like(step, then))
    return noisy


def initial_noise(seed: int, subject_id: str, view: int, shape: tuple[int, ...]) -> Tensor:
    """Draw the standard normal noise of one picture, on the CPU: a function of (seed, subject, view) alone."""
    generator = torch.Generator("cpu").manual_seed(item_seed(seed, "noise", subject_id, view))
    return torch.randn(shape, generator=generator, device="cpu")
