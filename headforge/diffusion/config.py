"""Settings of the diffusion stages: plain data, so that who reads settings does not load diffusers."""

from __future__ import annotations

from dataclasses import dataclass

from headforge.errors import ConfigError

MODEL_KIND = "learn2control-pixels"
"""What model.json calls the control model."""
DOMAINS = ("real", "synthetic")
"""Order of the learnable context tokens."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network."""

    image_size: int = 64
    """Side of the pictures in pixels."""
    patch: int = 4
    """Side of the codec's patches; latents are image_size / patch wide."""
    n_components: int = 16
    """Latent channels: principal components kept for each patch."""
    widths: tuple[int, ...] = (48, 80)
    """Channels of the U-Net's levels; each level halves the size."""
    n_heads: int = 2
    """Attention heads at every level."""
    norm_groups: int = 16
    """Groups of the group normalisation."""
    feed_forward_factor: int = 2
    """Width of a transformer block's feed-forward layer over that of the block."""
    token_dim: int = 32
    """Size of the real and synthetic tokens."""
    control_channels: int = 8
    """Feature channels of the Gaussians."""
    control_resolution: int = 64
    """Side of the Gaussians' texture in texels."""

    def __post_init__(self) -> None:
        """Refuse sizes that don't fit together."""
        step = self.patch * 2 ** (len(self.widths) - 1)
        if self.image_size < step or self.image_size % step:
            raise ConfigError("train.image_size", self.image_size, f"the picture size is {self.image_size}.",
                              f"give a multiple of {step}.")  # fmt: skip
        if any(width % self.norm_groups or width % self.n_heads for width in self.widths):
            raise ConfigError("train.widths", self.widths, f"the U-Net's widths are {self.widths}.",
                              f"give multiples of {self.norm_groups} and of {self.n_heads}.")  # fmt: skip

    @property
    def latent_size(self) -> int:
        """Side of the latents."""
        return self.image_size // self.patch

    @property
    def level_sizes(self) -> tuple[int, ...]:
        """Sides of the U-Net's levels."""
        return tuple(self.latent_size >> level for level in range(len(self.widths)))


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the training stage."""

    image_size: int = 64
    """Side of the pictures in pixels; the dataset is averaged down to it."""
    n_images_seen: int = 10_400
    """Training length: target images shown in all. Never a time, so that a rerun is the same run."""
    learning_rate: float = 1.5e-3
    """AdamW's learning rate; the Gaussians learn six times faster."""
    muon_learning_rate: float = 0.02
    """Muon's learning rate, for the networks' hidden matrices."""
    weight_decay: float = 0.01
    """Decay of the hidden matrices, times the learning rate."""
    warmup_images: int = 400
    """The learning rates rise from zero over this many images, then follow a cosine to zero."""
    ema_decay: float = 0.98
    """Decay of the weight average per iteration; the average is what is saved."""
    n_references: int = 4
    """Reference pictures in a batch, each of another identity."""
    n_targets: int = 4
    """Targets for each reference."""
    reference_yaw_max_deg: float = 15.0
    """Views turned less than this may serve as references."""
    with_reference: bool = True
    """Whether the denoiser attends to the reference branch; off only to measure what the branch is worth."""
    n_identities: int = 200
    """Training identities used, the first ones of the split."""
    n_threads: int = 1
    """Processor threads; part of what the trained bytes depend on."""
    checkpoint_images: int = 1600
    """A checkpoint to resume from is written after every so many images."""
    log_images: int = 160
    """A line of the training log is the mean over so many images."""
    seed: int = 0
    """Seed of initialisation, batches and noise."""

    def __post_init__(self) -> None:
        """Refuse values that can't train."""
        for name in ("n_images_seen", "n_references", "n_targets", "n_identities", "n_threads", "checkpoint_images",
                     "log_images", "learning_rate", "muon_learning_rate"):  # fmt: skip
            found = getattr(self, name)
            if found <= 0:
                raise ConfigError(f"train.{name}", found, f"train.{name} is {found}.", "give a value above 0.")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError("train.ema_decay", self.ema_decay, f"train.ema_decay is {self.ema_decay}.",
                              "give a value from 0 to below 1.")  # fmt: skip
        NetworkConfig(image_size=self.image_size)

    @property
    def batch_images(self) -> int:
        """Target images in a batch."""
        return self.n_references * self.n_targets


@dataclass(frozen=True)
class GenerateConfig:
    """Settings of sampling."""

    n_identities: int = 40
    """Held-out identities sampled, the first ones of the test split."""
    n_targets: int = 4
    """Pictures made of each, of its first views that are not references."""
    n_reference_views: int = 4
    """The first so many views of a subject are references; the very first one is shown to the model."""
    n_ddim_steps: int = 20
    """Denoising steps."""
    with_exact: bool = True
    """Whether to sample with exact parameters as well, beside tracked ones."""
    domain: str = "synthetic"
    """Token of pictures made from photos: the embedded default has seen no other in training."""
    portrait_yaw_max_deg: float = 60.0
    """Largest azimuth of the views made of a person."""
    portrait_n_yaws: int = 9
    """Number of azimuths, evenly spread to both sides."""
    portrait_pitches_deg: tuple[float, ...] = (-15.0, 0.0, 20.0)
    """Elevations of the views made of a person."""
    batch_references: int = 4
    """References sampled together."""
    n_threads: int = 1
    """Processor threads; part of what the bytes depend on."""
    seed: int = 0
    """Seed of the noise; each picture's depends on its subject and view besides."""

    def __post_init__(self) -> None:
        """Refuse values that can't be sampled with."""
        for name in ("n_identities", "n_targets", "n_ddim_steps", "portrait_n_yaws", "batch_references", "n_threads"):
            found = getattr(self, name)
            if found < 1:
                raise ConfigError(f"generate.{name}", found, f"generate.{name} is {found}.", "give at least 1.")
        if self.domain not in DOMAINS:
            raise ConfigError("generate.domain", self.domain, f"there is no domain '{self.domain}'.",
                              f"give one of {', '.join(DOMAINS)}.")  # fmt: skip
