"""The Learn2Control network at a small size: Gaussian field, reference branch, pose guiders, denoiser, domain tokens.

Both branches are diffusers' UNet2DConditionModel. Guider features are added after `conv_in` and after each down block,
out of place, to the features and to their skip connection (RealisDance's in-place addition, made explicit).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from diffusers.models.attention import BasicTransformerBlock, FeedForward
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from headforge.diffusion.config import DOMAINS, NetworkConfig
from headforge.diffusion.loss import input_scale, velocity_skip
from headforge.diffusion.networks.attention import Exchange, Reference, pool_control, set_shared_attention
from headforge.diffusion.networks.control import GaussianField
from headforge.diffusion.networks.guider import PoseGuider
from headforge.diffusion.networks.latent import PatchPCA

LAYERS_PER_BLOCK = 1
RESIDUAL_SHARE = 0.1
"""Approximate share of a latent channel's deviation not explained by reference and control; for `velocity_skip`."""


def build_unet(config: NetworkConfig) -> UNet2DConditionModel:
    """Return a U-Net with one ResBlock per level, attention at every level and no middle block."""
    n = len(config.widths)
    unet = UNet2DConditionModel(
        sample_size=config.latent_size,
        in_channels=config.n_components,
        out_channels=config.n_components,
        block_out_channels=config.widths,
        down_block_types=("CrossAttnDownBlock2D",) * n,
        mid_block_type=None,
        up_block_types=("CrossAttnUpBlock2D",) * n,
        layers_per_block=LAYERS_PER_BLOCK,
        norm_num_groups=config.norm_groups,
        cross_attention_dim=config.token_dim,
        # diffusers reads this as the number of heads (its issue 2011).
        attention_head_dim=config.n_heads,
        use_linear_projection=True,
    )
    for module in unet.modules():
        if isinstance(module, BasicTransformerBlock):
            # diffusers has no setting for it; its factor of 4 takes a fifth of the time of an iteration.
            module.ff = FeedForward(module.dim, mult=config.feed_forward_factor, activation_fn="geglu")
    return unet


def run_unet(
    unet: UNet2DConditionModel,
    sample: Tensor,
    step: Tensor,
    context: Tensor,
    guidance: list[Tensor] | None = None,
    exchange: Exchange | None = None,
) -> Tensor:
    """Run diffusers' forward pass on latents [B, K, h, w] with the guider's features added.

    Without guidance the result is bit-identical to diffusers' own.

    step: [B] int64. context: [B, 1, token_dim]. guidance: one map after `conv_in` and one after each down block.
    """
    extra = None if exchange is None else {"exchange": exchange}
    embedding = unet.time_embedding(unet.time_proj(step).to(sample.dtype))
    hidden = unet.conv_in(sample)
    hidden = hidden if guidance is None else hidden + guidance[0]
    skips: tuple[Tensor, ...] = (hidden,)
    for level, block in enumerate(unet.down_blocks):
        hidden, left = block(hidden, embedding, encoder_hidden_states=context, cross_attention_kwargs=extra)
        if guidance is not None:
            hidden = hidden + guidance[level + 1]
            left = (*left[:-1], hidden)
        skips += tuple(left)
    if unet.mid_block is not None:
        hidden = unet.mid_block(hidden, embedding, encoder_hidden_states=context, cross_attention_kwargs=extra)
    for block in unet.up_blocks:
        # Up blocks have one ResBlock more than down blocks; each takes one skip.
        n = LAYERS_PER_BLOCK + 1
        hidden = block(hidden, skips[-n:], embedding, encoder_hidden_states=context, cross_attention_kwargs=extra)
        skips = skips[:-n]
    assert unet.conv_norm_out is not None and unet.conv_act is not None
    return unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))


class Learn2Control(nn.Module):
    """The whole trained model; its state dict includes the codec and the Gaussians' positions."""

    def __init__(self, config: NetworkConfig, field: GaussianField, codec: PatchPCA) -> None:
        super().__init__()
        self.config = config
        self.field = field
        self.codec = codec
        channels = config.control_channels + 1
        widths = (config.widths[0], *config.widths)
        sizes = (config.latent_size, *config.level_sizes[1:], config.level_sizes[-1])
        strides = (1, *(a // b for a, b in pairwise(sizes)))
        self.denoiser = build_unet(config)
        self.reference = build_unet(config)
        for unet in (self.denoiser, self.reference):
            set_shared_attention(unet, channels)
        self.guider = PoseGuider(channels, config.patch, widths, strides)
        self.reference_guider = PoseGuider(channels, config.patch, widths, strides)
        self.tokens = nn.Embedding(len(DOMAINS), config.token_dim)
        nn.init.zeros_(self.denoiser.conv_out.weight)

    def encode_reference(self, latents: Tensor, control: Tensor, domain: Tensor) -> Reference:
        """Run the reference branch at step 0 on clean latents [R, K, h, w] with their control [R, C + 1, H, W].

        domain: [R] indices into `DOMAINS`.
        """
        pooled = pool_control(control, self.config.level_sizes)
        reference = Reference(pooled)
        run_unet(
            self.reference,
            latents,
            torch.zeros(len(latents), dtype=torch.int64, device=latents.device),
            self.tokens(domain)[:, None],
            self.reference_guider(control),
            Exchange(pooled, write=reference),
        )
        return reference

    def predict_velocity(
        self, noisy: Tensor, step: Tensor, control: Tensor, domain: Tensor, reference: Reference | None, n_targets: int
    ) -> Tensor:
        """Predict v of latents [B, K, h, w] at steps [B], controlled by maps [B, C + 1, H, W]; B = R * n_targets.

        With `reference` None the denoiser attends to its own tokens alone: the model without its reference branch. Its
        output is the residual to `velocity_skip`: after a short training, a network that had to copy the noise through
        its narrow features would leave noise in every picture.
        """
        exchange = Exchange(pool_control(control, self.config.level_sizes), read=reference, n_targets=n_targets)
        sample = noisy * input_scale(step, self.codec.deviations)
        output = run_unet(self.denoiser, sample, step, self.tokens(domain)[:, None], self.guider(control), exchange)
        return velocity_skip(step, RESIDUAL_SHARE * self.codec.deviations) * noisy + output
