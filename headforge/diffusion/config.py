"""Settings of the diffusion stages, in a module of its own so that reading settings does not import diffusers."""

from __future__ import annotations

from dataclasses import dataclass

from headforge.settings import LARGEST_SEED, check_settings, require, setting

MODEL_KIND = "learn2control-pixels"
"""Kind of the control model in model.json."""
DOMAINS = ("real", "synthetic")
"""Domains in the order of the learnable context tokens."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the networks."""

    image_size: int = setting(64, at_least=1, at_most=4096)
    """Side of the pictures in pixels."""
    patch: int = setting(4, at_least=1, at_most=4096)
    """Side of the codec's patches; latents are image_size / patch wide."""
    n_components: int = setting(16, at_least=1, at_most=4096)
    """Latent channels: principal components kept per patch."""
    widths: tuple[int, ...] = setting((48, 80), at_least=1, at_most=65_536)
    """Channels of the U-Net's levels; each level halves the size."""
    n_heads: int = setting(2, at_least=1, at_most=1024)
    """Attention heads at every level."""
    norm_groups: int = setting(16, at_least=1, at_most=1024)
    """Groups of the group normalisation."""
    feed_forward_factor: int = setting(2, at_least=1, at_most=64)
    """Width of a transformer block's feed-forward layer relative to that of the block."""
    token_dim: int = setting(32, at_least=1, at_most=65_536)
    """Size of the domain tokens."""
    control_channels: int = setting(8, at_least=1, at_most=4096)
    """Feature channels of the Gaussians."""
    control_resolution: int = setting(64, at_least=1, at_most=4096)
    """Side of the Gaussians' texture in texels."""

    def __post_init__(self) -> None:
        """Raise ConfigError for inconsistent sizes."""
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
    """Training length as the total number of target images; not a time, so that runs are reproducible."""
    learning_rate: float = setting(1.5e-3, above=0, at_most=10)
    """Learning rate of AdamW; that of the Gaussians is six times higher."""
    muon_learning_rate: float = setting(0.02, above=0, at_most=10)
    """Learning rate of Muon, for the networks' hidden matrices."""
    weight_decay: float = setting(0.01, at_least=0, at_most=10)
    """Weight decay of the hidden matrices, multiplied by the learning rate."""
    warmup_images: int = setting(400, at_least=0, at_most=1_000_000_000)
    """Number of images over which the learning rates rise from zero; then they follow a cosine to zero."""
    ema_decay: float = setting(0.98, at_least=0, below=1)
    """Decay per iteration of the weight average, which is the saved model."""
    n_references: int = setting(4, at_least=1, at_most=4096)
    """Reference pictures per batch, each of a different identity."""
    n_targets: int = setting(4, at_least=1, at_most=4096)
    """Targets per reference."""
    reference_yaw_max_deg: float = setting(15.0, at_least=0, at_most=180)
    """Largest azimuth of a reference view."""
    with_reference: bool = True
    """Whether the denoiser attends to the reference branch; false only for ablations."""
    n_identities: int = setting(200, at_least=1, at_most=10_000_000)
    """Number of training identities, the first ones of the split."""
    n_threads: int = setting(1, at_least=1, at_most=1024)
    """Processor threads; the trained bytes depend on it."""
    checkpoint_images: int = setting(1600, at_least=1, at_most=1_000_000_000)
    """Number of images between two checkpoints."""
    log_images: int = setting(160, at_least=1, at_most=1_000_000_000)
    """Number of images over which a line of the training log is averaged."""
    seed: int = setting(0, at_least=0, at_most=LARGEST_SEED)
    """Seed of initialisation, batches and noise."""

    def __post_init__(self) -> None:
        """Raise ConfigError for invalid values."""
        check_settings(self, "train")
        NetworkConfig(image_size=self.image_size)

    @property
    def batch_images(self) -> int:
        """Target images in a batch."""
        return self.n_references * self.n_targets


@dataclass(frozen=True)
class GenerateConfig:
    """Settings of sampling with the trained model."""

    n_identities: int = setting(40, at_least=1, at_most=10_000_000)
    """Number of held-out identities to sample, the first ones of the test split."""
    n_targets: int = setting(4, at_least=1, at_most=4096)
    """Pictures per identity, of its first views that are not references."""
    n_reference_views: int = setting(4, at_least=1, at_most=4096)
    """Number of reference views: the first ones of a subject. The model sees only the first."""
    n_ddim_steps: int = setting(20, at_least=1, at_most=1000)
    """DDIM denoising steps."""
    with_exact: bool = True
    """Also sample with exact parameters, besides tracked ones."""
    domain: str = setting("synthetic", one_of=DOMAINS)
    """Domain token of pictures made from photos; the default model was trained with this one only."""
    portrait_yaw_max_deg: float = setting(60.0, at_least=0, at_most=180)
    """Largest azimuth of the views generated from a photo."""
    portrait_n_yaws: int = setting(9, at_least=1, at_most=4096)
    """Number of azimuths, evenly spaced to both sides."""
    portrait_pitches_deg: tuple[float, ...] = setting((-15.0, 0.0, 20.0), at_least=-90, at_most=90)
    """Elevations of the views generated from a photo."""
    batch_references: int = setting(4, at_least=1, at_most=4096)
    """References sampled together."""
    n_threads: int = setting(1, at_least=1, at_most=1024)
    """Processor threads; the generated bytes depend on it."""
    seed: int = setting(0, at_least=0, at_most=LARGEST_SEED)
    """Seed of the noise, which also depends on a picture's subject and view."""

    def __post_init__(self) -> None:
        """Raise ConfigError for invalid values."""
        check_settings(self, "generate")
