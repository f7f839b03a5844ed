"""Settings of the diffusion stages: plain data, so that reading settings does not import diffusers."""

from __future__ import annotations

from dataclasses import dataclass

from headforge.settings import LARGEST_SEED, check_settings, require, setting

MODEL_KIND = "learn2control-pixels"
"""Name of the control model in model.json."""
DOMAINS = ("real", "synthetic")
"""Order of the learnable context tokens."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network."""

    image_size: int = setting(64, at_least=1, at_most=4096)
    """Side of the pictures in pixels."""
    patch: int = setting(4, at_least=1, at_most=4096)
    """Side of the codec's patches; latents are image_size / patch wide."""
    n_components: int = setting(16, at_least=1, at_most=4096)
    """Latent channels: principal components kept for each patch."""
    widths: tuple[int, ...] = setting((48, 80), at_least=1, at_most=65_536)
    """Channels of the U-Net's levels; each level halves the size."""
    n_heads: int = setting(2, at_least=1, at_most=1024)
    """Attention heads at every level."""
    norm_groups: int = setting(16, at_least=1, at_most=1024)
    """Groups of the group normalisation."""
    feed_forward_factor: int = setting(2, at_least=1, at_most=64)
    """Width of a transformer block's feed-forward layer over that of the block."""
    token_dim: int = setting(32, at_least=1, at_most=65_536)
    """Size of the real and synthetic tokens."""
    control_channels: int = setting(8, at_least=1, at_most=4096)
    """Feature channels of the Gaussians."""
    control_resolution: int = setting(64, at_least=1, at_most=4096)
    """Side of the Gaussians' texture in texels."""

    def __post_init__(self) -> None:
        """Reject inconsistent sizes."""
        check_settings(self, "train")
        step = self.patch * 2 ** (len(self.widths) - 1)
        require(self, "train", "image_size", self.image_size % step == 0, f"a multiple of {step}")
        fit = not any(width % self.norm_groups or width % self.n_heads for width in self.widths)
        require(self, "train", "widths", fit, f"multiples of {self.norm_groups} and of {self.n_heads}")

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

    image_size: int = setting(64, at_least=1, at_most=4096)
    """Side of the pictures in pixels; the dataset is averaged down to it."""
    n_images_seen: int = setting(10_400, at_least=1, at_most=1_000_000_000)
    """Training length: target images shown in all. Never a time, so that a rerun is the same run."""
    learning_rate: float = setting(1.5e-3, above=0, at_most=10)
    """AdamW's learning rate; the Gaussians learn six times faster."""
    muon_learning_rate: float = setting(0.02, above=0, at_most=10)
    """Muon's learning rate, for the networks' hidden matrices."""
    weight_decay: float = setting(0.01, at_least=0, at_most=10)
    """Decay of the hidden matrices, times the learning rate."""
    warmup_images: int = setting(400, at_least=0, at_most=1_000_000_000)
    """The learning rates rise from zero over this many images, then follow a cosine to zero."""
    ema_decay: float = setting(0.98, at_least=0, below=1)
    """Decay of the weight average per iteration; the average is what is saved."""
    n_references: int = setting(4, at_least=1, at_most=4096)
    """Reference pictures in a batch, each of another identity."""
    n_targets: int = setting(4, at_least=1, at_most=4096)
    """Targets for each reference."""
    reference_yaw_max_deg: float = setting(15.0, at_least=0, at_most=180)
    """Views turned less than this may serve as references."""
    with_reference: bool = True
    """Whether the denoiser attends to the reference branch; off only to measure what the branch is worth."""
    n_identities: int = setting(200, at_least=1, at_most=10_000_000)
    """Training identities used, the first ones of the split."""
    n_threads: int = setting(1, at_least=1, at_most=1024)
    """Processor threads; part of what the trained bytes depend on."""
    checkpoint_images: int = setting(1600, at_least=1, at_most=1_000_000_000)
    """A checkpoint to resume from is written after every so many images."""
    log_images: int = setting(160, at_least=1, at_most=1_000_000_000)
    """A line of the training log is the mean over so many images."""
    seed: int = setting(0, at_least=0, at_most=LARGEST_SEED)
    """Seed of initialisation, batches and noise."""

    def __post_init__(self) -> None:
        """Reject values that training can't use."""
        check_settings(self, "train")
        NetworkConfig(image_size=self.image_size)

    @property
    def batch_images(self) -> int:
        """Target images in a batch."""
        return self.n_references * self.n_targets


@dataclass(frozen=True)
class GenerateConfig:
    """Settings of sampling."""

    n_identities: int = setting(40, at_least=1, at_most=10_000_000)
    """Held-out identities sampled, the first ones of the test split."""
    n_targets: int = setting(4, at_least=1, at_most=4096)
    """Pictures made of each, of its first views that are not references."""
    n_reference_views: int = setting(4, at_least=1, at_most=4096)
    """The first so many views of a subject are references; the very first one is shown to the model."""
    n_ddim_steps: int = setting(20, at_least=1, at_most=1000)
    """Denoising steps."""
    with_exact: bool = True
    """Whether to sample with exact parameters as well, beside tracked ones."""
    domain: str = setting("synthetic", one_of=DOMAINS)
    """Token of pictures made from photos: the embedded default has seen no other in training."""
    portrait_yaw_max_deg: float = setting(60.0, at_least=0, at_most=180)
    """Largest azimuth of the views made of a person."""
    portrait_n_yaws: int = setting(9, at_least=1, at_most=4096)
    """Number of azimuths, evenly spread to both sides."""
    portrait_pitches_deg: tuple[float, ...] = setting((-15.0, 0.0, 20.0), at_least=-90, at_most=90)
    """Elevations of the views made of a person."""
    batch_references: int = setting(4, at_least=1, at_most=4096)
    """References sampled together."""
    n_threads: int = setting(1, at_least=1, at_most=1024)
    """Processor threads; part of what the bytes depend on."""
    seed: int = setting(0, at_least=0, at_most=LARGEST_SEED)
    """Seed of the noise; each picture's depends on its subject and view besides."""

    def __post_init__(self) -> None:
        """Reject values that sampling can't use."""
        check_settings(self, "generate")
