"""Files of Stable Diffusion 1.5, its auto-encoder and AnimateDiff in their official layouts, at a small size.

The single files are written from CompVis's own module structure, spelled out here block by block, so that what converts
them is compared with something that knows nothing of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

WIDTHS = (32, 32, 64, 64)
CONTEXT = 24
TIME = 4 * WIDTHS[0]
VAE_WIDTHS = (32, 32, 64, 64)
UNET_CONFIG = {
    "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0", "act_fn": "silu", "attention_head_dim": 8,
    "block_out_channels": list(WIDTHS), "center_input_sample": False, "cross_attention_dim": CONTEXT,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0, "in_channels": 4, "layers_per_block": 2,
    "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32, "out_channels": 4, "sample_size": 64,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
}  # fmt: skip
VAE_CONFIG = {
    "_class_name": "AutoencoderKL", "_diffusers_version": "0.4.2", "act_fn": "silu",
    "block_out_channels": list(VAE_WIDTHS), "down_block_types": ["DownEncoderBlock2D"] * 4, "in_channels": 3,
    "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32, "out_channels": 3, "sample_size": 512,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip
SCHEDULER_CONFIG = {
    "_class_name": "PNDMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085,
    "num_train_timesteps": 1000, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
    "trained_betas": None, "clip_sample": False,
}  # fmt: skip
MOTION_CONFIG = {
    "_class_name": "MotionAdapter", "block_out_channels": list(WIDTHS), "motion_layers_per_block": 2,
    "motion_max_seq_length": 32, "motion_mid_block_layers_per_block": 1, "motion_norm_num_groups": 32,
    "motion_num_attention_heads": 8, "use_motion_mid_block": True,
}  # fmt: skip

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def filled(shapes: Shapes, seed: int) -> dict[str, Tensor]:
    """Random weights, small enough for activations to stay finite; norms near 1."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, shape in shapes:
        scale = 0.1 if len(shape) == 1 else (shape[1] * (9 if len(shape) == 4 else 1)) ** -0.5
        values = scale * torch.randn(shape, generator=generator)
        made[name] = values + 1 if len(shape) == 1 and name.endswith("weight") else values
    return made


def linear(name: str, n_in: int, n_out: int, *, bias: bool = True) -> Shapes:
    yield f"{name}.weight", (n_out, n_in)
    if bias:
        yield f"{name}.bias", (n_out,)


def conv(name: str, n_in: int, n_out: int, kernel: int = 3) -> Shapes:
    yield f"{name}.weight", (n_out, n_in, kernel, kernel)
    yield f"{name}.bias", (n_out,)


def norm(name: str, n: int) -> Shapes:
    yield f"{name}.weight", (n,)
    yield f"{name}.bias", (n,)


def ldm_resnet(name: str, n_in: int, n_out: int) -> Shapes:
    yield from norm(f"{name}.in_layers.0", n_in)
    yield from conv(f"{name}.in_layers.2", n_in, n_out)
    yield from linear(f"{name}.emb_layers.1", TIME, n_out)
    yield from norm(f"{name}.out_layers.0", n_out)
    yield from conv(f"{name}.out_layers.3", n_out, n_out)
    if n_in != n_out:
        yield from conv(f"{name}.skip_connection", n_in, n_out, 1)


def ldm_attention(name: str, n: int) -> Shapes:
    yield from norm(f"{name}.norm", n)
    yield from conv(f"{name}.proj_in", n, n, 1)
    block = f"{name}.transformer_blocks.0"
    for attention, n_context in (("attn1", n), ("attn2", CONTEXT)):
        yield from linear(f"{block}.{attention}.to_q", n, n, bias=False)
        yield from linear(f"{block}.{attention}.to_k", n_context, n, bias=False)
        yield from linear(f"{block}.{attention}.to_v", n_context, n, bias=False)
        yield from linear(f"{block}.{attention}.to_out.0", n, n)
    yield from linear(f"{block}.ff.net.0.proj", n, 8 * n)
    yield from linear(f"{block}.ff.net.2", 4 * n, n)
    for index in (1, 2, 3):
        yield from norm(f"{block}.norm{index}", n)
    yield from conv(f"{name}.proj_out", n, n, 1)


def ldm_unet() -> Shapes:
    """`model.diffusion_model.` of v1-5-pruned: twelve input blocks, a middle, twelve output blocks."""
    a, b, c, d = WIDTHS
    top = "model.diffusion_model"
    yield from linear(f"{top}.time_embed.0", a, TIME)
    yield from linear(f"{top}.time_embed.2", TIME, TIME)
    yield from conv(f"{top}.input_blocks.0.0", 4, a)
    inputs = {1: (a, a), 2: (a, a), 4: (a, b), 5: (b, b), 7: (b, c), 8: (c, c), 10: (c, d), 11: (d, d)}
    for index, (n_in, n_out) in inputs.items():
        yield from ldm_resnet(f"{top}.input_blocks.{index}.0", n_in, n_out)
        if index < 9:
            yield from ldm_attention(f"{top}.input_blocks.{index}.1", n_out)
    for index, n in ((3, a), (6, b), (9, c)):
        yield from conv(f"{top}.input_blocks.{index}.0.op", n, n)
    yield from ldm_resnet(f"{top}.middle_block.0", d, d)
    yield from ldm_attention(f"{top}.middle_block.1", d)
    yield from ldm_resnet(f"{top}.middle_block.2", d, d)
    # Input plus what the skip connection brings, last stored first taken.
    outputs = {
        0: (d + d, d), 1: (d + d, d), 2: (d + c, d), 3: (d + c, c), 4: (c + c, c), 5: (c + b, c), 6: (c + b, b),
        7: (b + b, b), 8: (b + a, b), 9: (b + a, a), 10: (a + a, a), 11: (a + a, a),
    }  # fmt: skip
    for index, (n_in, n_out) in outputs.items():
        yield from ldm_resnet(f"{top}.output_blocks.{index}.0", n_in, n_out)
        if index > 2:
            yield from ldm_attention(f"{top}.output_blocks.{index}.1", n_out)
    yield from conv(f"{top}.output_blocks.2.1.conv", d, d)
    yield from conv(f"{top}.output_blocks.5.2.conv", c, c)
    yield from conv(f"{top}.output_blocks.8.2.conv", b, b)
    yield from norm(f"{top}.out.0", a)
    yield from conv(f"{top}.out.2", a, 4)


def vae_resnet(name: str, n_in: int, n_out: int) -> Shapes:
    yield from norm(f"{name}.norm1", n_in)
    yield from conv(f"{name}.conv1", n_in, n_out)
    yield from norm(f"{name}.norm2", n_out)
    yield from conv(f"{name}.conv2", n_out, n_out)
    if n_in != n_out:
        yield from conv(f"{name}.nin_shortcut", n_in, n_out, 1)


def vae_middle(name: str, n: int) -> Shapes:
    yield from vae_resnet(f"{name}.block_1", n, n)
    yield from norm(f"{name}.attn_1.norm", n)
    for part in ("q", "k", "v", "proj_out"):
        yield from conv(f"{name}.attn_1.{part}", n, n, 1)
    yield from vae_resnet(f"{name}.block_2", n, n)


def ldm_vae(prefix: str = "first_stage_model.") -> Shapes:
    """The auto-encoder as CompVis writes it; the decoder's `up.0` is the one at full resolution."""
    a, b, c, d = VAE_WIDTHS
    yield from conv(f"{prefix}encoder.conv_in", 3, a)
    for level, (n_in, n_out) in enumerate(((a, a), (a, b), (b, c), (c, d))):
        for block in (0, 1):
            yield from vae_resnet(f"{prefix}encoder.down.{level}.block.{block}", n_in if block == 0 else n_out, n_out)
        if level < 3:
            yield from conv(f"{prefix}encoder.down.{level}.downsample.conv", n_out, n_out)
    yield from vae_middle(f"{prefix}encoder.mid", d)
    yield from norm(f"{prefix}encoder.norm_out", d)
    yield from conv(f"{prefix}encoder.conv_out", d, 8)
    yield from conv(f"{prefix}quant_conv", 8, 8, 1)
    yield from conv(f"{prefix}post_quant_conv", 4, 4, 1)
    yield from conv(f"{prefix}decoder.conv_in", 4, d)
    yield from vae_middle(f"{prefix}decoder.mid", d)
    for level, (n_in, n_out) in ((3, (d, d)), (2, (d, c)), (1, (c, b)), (0, (b, a))):
        for block in (0, 1, 2):
            yield from vae_resnet(f"{prefix}decoder.up.{level}.block.{block}", n_in if block == 0 else n_out, n_out)
        if level > 0:
            yield from conv(f"{prefix}decoder.up.{level}.upsample.conv", n_out, n_out)
    yield from norm(f"{prefix}decoder.norm_out", a)
    yield from conv(f"{prefix}decoder.conv_out", a, 3)


def single_tensors() -> dict[str, Tensor]:
    """All of a single file; the text encoder by one tensor, and what else the official one has."""
    text = {"cond_stage_model.transformer.text_model.final_layer_norm.weight": torch.ones(CONTEXT),
            "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None]}  # fmt: skip
    return filled(ldm_unet(), 1) | filled(ldm_vae(), 2) | text | {"betas": torch.zeros(1000)}


def write_single(path: Path) -> Path:
    """v1-5-pruned-emaonly.safetensors, or .ckpt by the name's end."""
    tensors = single_tensors()
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict": tensors, "epoch": 3, "global_step": 840000}, path)
    return path


def motion_level(name: str, n: int, n_modules: int, length: int) -> Shapes:
    for index in range(n_modules):
        top = f"{name}.motion_modules.{index}.temporal_transformer"
        yield from norm(f"{top}.norm", n)
        yield from linear(f"{top}.proj_in", n, n)
        block = f"{top}.transformer_blocks.0"
        for attention in (0, 1):
            for part in ("to_q", "to_k", "to_v"):
                yield from linear(f"{block}.attention_blocks.{attention}.{part}", n, n, bias=False)
            yield from linear(f"{block}.attention_blocks.{attention}.to_out.0", n, n)
            yield f"{block}.attention_blocks.{attention}.pos_encoder.pe", (1, length, n)
            yield from norm(f"{block}.norms.{attention}", n)
        yield from linear(f"{block}.ff.net.0.proj", n, 8 * n)
        yield from linear(f"{block}.ff.net.2", 4 * n, n)
        yield from norm(f"{block}.ff_norm", n)
        yield from linear(f"{top}.proj_out", n, n)


def motion_tensors(*, has_middle: bool = True, length: int = 32) -> dict[str, Tensor]:
    """mm_sd_v15_v2: modules after each of the U-Net's blocks, from the middle on in the second version."""
    shapes = []
    for level, n in enumerate(WIDTHS):
        shapes += [*motion_level(f"down_blocks.{level}", n, 2, length)]
        shapes += [*motion_level(f"up_blocks.{level}", WIDTHS[3 - level], 3, length)]
    if has_middle:
        shapes += [*motion_level("mid_block", WIDTHS[3], 1, length)]
    return filled(iter(shapes), 3)


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
