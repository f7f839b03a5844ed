"""Differences of pictures, depths and masks between our SphereHead and PanoHead and the official code.

    python -m benchmarks.gan_parity --repo CHECKOUT --kind spherehead [--full] [--json]

CHECKOUT is a clone of the official repository, whose code is run. Its generator is made with random weights, pickled as
training pickles it, converted and loaded by headforge; both then draw the same latent codes from the same cameras with
the same random numbers along the rays. Small nets by default; `--full` takes those of the published checkpoints (512
pixels; minutes on a CPU). `--checkpoint FILE` compares with the weights in a checkpoint, converted, in place of random
ones.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import arguments, finish, machine_record, write
from headforge.priors.gan.cameras import frontal_label, gan_camera
from headforge.priors.gan.checkout import OfficialGan, official_class
from headforge.priors.gan.convert import convert_gan, load_gan
from headforge.priors.gan.model import HeadGan
from headforge.priors.gan.renderer import draw_jitter
from headforge.priors.gan.settings import KINDS
from headforge.types import Camera

SEED = 0
CAMERAS_DEG = ((0.0, 0.0), (-70.0, 25.0))
"""Azimuth and elevation."""
TOLERANCE = 1e-3
PSI = 0.7
RENDERING: Mapping[str, Any] = {
    "image_resolution": 512, "disparity_space_sampling": False, "clamp_mode": "softplus",
    "superresolution_module": "training.superresolution.SuperresolutionHybrid8XDC", "c_gen_conditioning_zero": False,
    "c_scale": 1.0, "superresolution_noise_mode": "none", "decoder_lr_mul": 1.0, "decoder_activation": "none",
    "use_torgb_raw": True, "triplane_size": 256, "triplane_depth": 3, "use_background": True, "sr_antialias": True,
    "depth_resolution": 48, "depth_resolution_importance": 48, "ray_start": 2.25, "ray_end": 3.3, "box_warp": 1,
    "avg_camera_radius": 2.7, "avg_camera_pivot": [0, 0, 0],
}  # fmt: skip
"""Rendering settings of the published checkpoints."""
SMALL_RENDERING: Mapping[str, Any] = {
    "superresolution_module": "training.superresolution.SuperresolutionHybrid2X", "image_resolution": 128,
    "triplane_size": 64,
}  # fmt: skip


def official_arguments(full: bool) -> dict[str, Any]:
    """Return the arguments that the official training passes to the generator's constructor."""
    capacity = {"channel_base": 32768, "channel_max": 512} if full else {"channel_base": 1024, "channel_max": 32}
    return {
        "z_dim": 512, "c_dim": 25, "w_dim": 512, "img_resolution": 512 if full else 128, "img_channels": 3,
        "mapping_kwargs": {"num_layers": 2}, "rendering_kwargs": {**RENDERING, **({} if full else SMALL_RENDERING)},
        "sr_num_fp16_res": 4, "sr_kwargs": {**capacity, "fused_modconv_default": "inference_only"}, **capacity,
        "fused_modconv_default": "inference_only", "num_fp16_res": 0, "conv_clamp": None, "architecture": "skip",
    }  # fmt: skip


def random_official(repo: Path, kind: str, full: bool) -> Any:
    """Return an official generator with random weights: none keeps its initial value of 0 or 1."""
    torch.manual_seed(SEED)
    parsing = {"parsing_flag": True} if kind == "spherehead" else {}
    generator = official_class(repo)(**official_arguments(full), **parsing).eval().requires_grad_(False)
    for name, value in [*generator.named_parameters(), *generator.named_buffers()]:
        if not name.endswith("resample_filter"):
            value.add_(0.1 * torch.randn(value.shape))
    last = generator.decoder.net[2]
    last.weight[0] *= 10.0
    last.bias[0] = -2.0  # between empty and opaque
    generator.neural_rendering_resolution = 64 if full else 32
    return generator


def convert_random(repo: Path, kind: str, full: bool) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors and metadata of a pickle that the official code wrote."""
    generator = random_official(repo, kind, full)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.pkl"
        content = {"G": None, "D": None, "G_ema": generator, "training_set_kwargs": {}, "augment_pipe": None}
        path.write_bytes(pickle.dumps(content))
        tensors, facts = convert_gan(path, kind)
    wanted = generator.state_dict()
    n_equal = sum(torch.equal(tensors[name], wanted[name]) for name in wanted)
    write(f"{n_equal} of {len(wanted)} tensors recovered bit for bit, {len(tensors)} found")
    return tensors, facts


def views(model: HeadGan | OfficialGan, z: torch.Tensor) -> dict[str, torch.Tensor]:
    """Render a generator's views at `CAMERAS_DEG`."""
    settings = model.settings
    label = frontal_label(settings.camera_radius, settings.camera_pivot)
    size = settings.render_size
    cameras = [gan_camera(*angles, size, settings.camera_radius, settings.camera_pivot) for angles in CAMERAS_DEG]
    jitters = [draw_jitter(SEED, 0, view, size * size, settings.rays) for view in range(len(cameras))]
    with torch.no_grad():
        ws = model.styles(z, label, PSI, 14)
        planes = model.planes(ws)
        found = model.render(planes, ws, Camera.stack(cameras), jitters, model.background(ws))
    names = ("image", "raw", "ray_depth", "z_depth", "mask", "parsing")
    return {name: getattr(found, name) for name in names if getattr(found, name) is not None}


def main(argv: list[str] | None = None) -> int:
    """Compare and print; return 1 if a difference exceeds the tolerance."""
    parser = arguments(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--repo", type=Path, required=True, help="a clone of the official repository; its code is run")
    parser.add_argument("--kind", choices=KINDS, default=KINDS[0])
    parser.add_argument("--full", action="store_true", help="the size of the published checkpoints")
    parser.add_argument("--checkpoint", type=Path, help="an official checkpoint in place of random weights")
    options = parser.parse_args(argv)
    if options.checkpoint is None:
        tensors, facts = convert_random(options.repo, options.kind, options.full)
    else:
        tensors, facts = convert_gan(options.checkpoint, options.kind)
    z = torch.randn(1, facts["init_kwargs"]["z_dim"], generator=torch.Generator().manual_seed(SEED))
    models = {"ours": load_gan(tensors, facts), "official": OfficialGan(options.repo, tensors, facts)}
    found, process_time_s = {}, {}
    for name, model in models.items():
        start = time.process_time()
        found[name] = views(model, z)
        process_time_s[name] = time.process_time() - start
    ours, theirs = found["ours"], found["official"]
    differences = {name: float((ours[name] - theirs[name]).abs().max()) for name in theirs}
    ranges = {name: float(theirs[name].max() - theirs[name].min()) for name in theirs}
    result = {
        **machine_record([SEED]), "kind": options.kind, "full": options.full, "n_tensors": len(tensors),
        "cameras_deg": CAMERAS_DEG, "max_difference": differences, "range": ranges,
        "process_time_s": process_time_s,
        "is_within_tolerance": max(differences.values()) <= TOLERANCE,
    }  # fmt: skip
    finish(result, options)
    return 0 if result["is_within_tolerance"] else 1


if __name__ == "__main__":
    sys.exit(main())
