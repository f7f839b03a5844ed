"""The noise schedule and v-prediction (Salimans and Ho 2022).

Cosine schedule: at step t of `N_STEPS`, signal a = cos(phi), noise s = sin(phi), phi = (pi / 2) t / N_STEPS. Step
`N_STEPS` is pure noise (zero terminal SNR, so sampling starts from what training saw), step 0 is the clean latent.
a z + ... identities: z = a x + s e, v = a e - s x, x = a z - s v, e = s z + a v.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

N_STEPS = 1000
MAX_SNR = 5.0
"""Upper limit of the signal-to-noise ratio in the weight of a step, in terms of the clean latent's error."""


def signal_and_noise(step: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors a and s, each [B, 1, 1, 1], of steps [B] in 0 .. N_STEPS; exact at both ends."""
    phi = step.double() * (math.pi / 2 / N_STEPS)
    signal = torch.where(step == N_STEPS, torch.zeros_like(phi), phi.cos())
    shape = (-1, 1, 1, 1)
    return signal.float().view(shape), phi.sin().float().view(shape)


def add_noise(clean: Tensor, noise: Tensor, step: Tensor) -> Tensor:
    """Return z at steps [B], from x and e [B, K, h, w]."""
    a, s = signal_and_noise(step)
    return a * clean + s * noise


def velocity(clean: Tensor, noise: Tensor, step: Tensor) -> Tensor:
    """Return v at steps [B], from x and e."""
    a, s = signal_and_noise(step)
    return a * noise - s * clean


def clean_from_velocity(noisy: Tensor, v: Tensor, step: Tensor) -> Tensor:
    """Return x from z and v."""
    a, s = signal_and_noise(step)
    return a * noisy - s * v


def noise_from_velocity(noisy: Tensor, v: Tensor, step: Tensor) -> Tensor:
    """Return e from z and v."""
    a, s = signal_and_noise(step)
    return s * noisy + a * v


def velocity_loss(predicted: Tensor, clean: Tensor, noise: Tensor, step: Tensor) -> Tensor:
    """Return the mean squared error of v, weighted by (min(snr, MAX_SNR) + 1) / (snr + 1) at each step.

    An error of v is that of the clean latent over s; without the limit (min-SNR, Hang et al. 2023) the last, nearly
    clean steps would dominate a short training.
    """
    _, s = signal_and_noise(step)
    # snr + 1 = 1 / s^2.
    weight = (s**2 * (MAX_SNR + 1)).clamp_max(1)
    return (weight * (predicted - velocity(clean, noise, step)).square()).mean()


def input_scale(step: Tensor, deviations: Tensor) -> Tensor:
    """Return factors [B, K, 1, 1] that scale z at steps [B] to unit variance, for latent standard deviations [K]."""
    a, s = signal_and_noise(step)
    return (s**2 + (a * deviations[:, None, None]) ** 2).rsqrt()


def velocity_skip(step: Tensor, deviations: Tensor) -> Tensor:
    """Return the factor k [B, K, 1, 1] of k z, the part of v that is predicted without a network.

    The linear regression of v on z for a latent of mean zero and standard deviations [K]:
    k = E[v z] / E[z z] = a s (1 - q) / (s^2 + q a^2), q the variance. (Karras et al. 2022 derive their skip in the same
    way; for q = 1 it vanishes.)
    """
    a, s = signal_and_noise(step)
    q = (deviations**2)[:, None, None]
    return a * s * (1 - q) / (s**2 + q * a**2)


def stratified_steps(n: int, generator: torch.Generator) -> Tensor:
    """Draw training steps [n] int64 in 1 .. N_STEPS: uniform, one per n-th of the range, in random order.

    The result is on the generator's device; a CPU generator gives the same steps for every device.
    """
    offsets = torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device)
    order = torch.randperm(n, generator=generator, device=generator.device)
    return ((order + offsets) / n * N_STEPS).floor().long().clamp_max(N_STEPS - 1) + 1
