"""Tensor names of Stable Diffusion: mapping from CompVis's single files to diffusers' modules.

Tables over four levels of two layers each, the last level without attention, as in all files of SD 1.x.
"""

from __future__ import annotations

from collections.abc import Mapping

N_LEVELS, N_LAYERS = 4, 2
UNET_PREFIX, VAE_PREFIX = "model.diffusion_model.", "first_stage_model."
TEXT_PREFIX = "cond_stage_model.transformer."

_UNET_RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
    "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
_VAE_RESNET = {
    "norm1": "norm1", "conv1": "conv1", "norm2": "norm2", "conv2": "conv2", "nin_shortcut": "conv_shortcut"
}  # fmt: skip
_VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
OLD_VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""diffusers' former names of the parts of a VAE's attention, as used in the official folders."""

_UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out",
}  # fmt: skip
_VAE_ENDS = {
    f"{half}.{old}": f"{half}.{new}"
    for half in ("encoder", "decoder")
    for old, new in {"conv_in": "conv_in", "norm_out": "conv_norm_out", "conv_out": "conv_out"}.items()
} | {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}


def unet_prefixes() -> dict[str, str]:
    """Return the prefixes of the U-Net's tensors, without `UNET_PREFIX`: single file to diffusers."""
    names = dict(_UNET_ENDS)
    for level in range(N_LEVELS):
        has_attention = level < N_LEVELS - 1
        for layer in range(N_LAYERS):
            old, new = f"input_blocks.{1 + level * (N_LAYERS + 1) + layer}", f"down_blocks.{level}"
            names |= _with(f"{old}.0", f"{new}.resnets.{layer}", _UNET_RESNET)
            if has_attention:
                names[f"{old}.1"] = f"{new}.attentions.{layer}"
        if has_attention:
            block = 1 + level * (N_LAYERS + 1) + N_LAYERS
            names[f"input_blocks.{block}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
    for index, part in enumerate(("resnets.0", "attentions.0", "resnets.1")):
        old, new = f"middle_block.{index}", f"mid_block.{part}"
        names |= {old: new} if part == "attentions.0" else _with(old, new, _UNET_RESNET)
    for level in range(N_LEVELS):
        has_attention = level > 0
        for layer in range(N_LAYERS + 1):
            old, new = f"output_blocks.{level * (N_LAYERS + 1) + layer}", f"up_blocks.{level}"
            names |= _with(f"{old}.0", f"{new}.resnets.{layer}", _UNET_RESNET)
            if has_attention:
                names[f"{old}.1"] = f"{new}.attentions.{layer}"
            if layer == N_LAYERS and level < N_LEVELS - 1:
                names[f"{old}.{2 if has_attention else 1}.conv"] = f"{new}.upsamplers.0.conv"
    return names


def vae_prefixes() -> dict[str, str]:
    """Return the prefixes of the auto-encoder's tensors, without `VAE_PREFIX`: single file to diffusers."""
    names = dict(_VAE_ENDS)
    for half, n_layers in (("encoder", N_LAYERS), ("decoder", N_LAYERS + 1)):
        for index, name in ((0, "block_1"), (1, "block_2")):
            names |= _with(f"{half}.mid.{name}", f"{half}.mid_block.resnets.{index}", _VAE_RESNET)
        names |= _with(f"{half}.mid.attn_1", f"{half}.mid_block.attentions.0", _VAE_ATTENTION)
        for level in range(N_LEVELS):
            # The single file counts the decoder's levels from the picture, diffusers from the latents.
            old = f"encoder.down.{level}" if half == "encoder" else f"decoder.up.{N_LEVELS - 1 - level}"
            new = f"encoder.down_blocks.{level}" if half == "encoder" else f"decoder.up_blocks.{level}"
            for layer in range(n_layers):
                names |= _with(f"{old}.block.{layer}", f"{new}.resnets.{layer}", _VAE_RESNET)
            sampler = "downsample" if half == "encoder" else "upsample"
            names[f"{old}.{sampler}.conv"] = f"{new}.{sampler}rs.0.conv"
    return names


def renamed(name: str, prefixes: Mapping[str, str]) -> str | None:
    """Return the new name of a tensor by its longest known prefix; None if it has none."""
    head, rest = name, ""
    while head:
        if head in prefixes:
            return prefixes[head] + rest
        head, dot, tail = head.rpartition(".")
        rest = dot + tail + rest
    return None


def _with(old: str, new: str, parts: Mapping[str, str]) -> dict[str, str]:
    return {f"{old}.{before}": f"{new}.{after}" for before, after in parts.items()}
