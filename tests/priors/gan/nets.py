"""Small generators, and checkpoints of them in the official layout."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from headforge.priors.gan.layers import FullyConnected
from headforge.priors.gan.model import Decoder, HeadGan
from headforge.priors.gan.settings import read_settings

RENDERING: Mapping[str, Any] = {
    "superresolution_module": "training.superresolution.SuperresolutionHybrid2X", "c_gen_conditioning_zero": False,
    "c_scale": 1.0, "superresolution_noise_mode": "none", "decoder_lr_mul": 1, "decoder_activation": "none",
    "use_torgb_raw": True, "triplane_size": 16, "triplane_depth": 3, "use_background": True, "sr_antialias": True,
    "clamp_mode": "softplus", "disparity_space_sampling": False, "depth_resolution": 10,
    "depth_resolution_importance": 6, "ray_start": 2.25, "ray_end": 3.3, "box_warp": 1, "avg_camera_radius": 2.7,
    "avg_camera_pivot": [0, 0, 0], "density_reg": 0.25,
}  # fmt: skip
ARGUMENTS: Mapping[str, Any] = {
    "z_dim": 16, "c_dim": 25, "w_dim": 24, "img_resolution": 128, "img_channels": 3, "sr_num_fp16_res": 4,
    "mapping_kwargs": {"num_layers": 2}, "sr_kwargs": {"channel_base": 256, "channel_max": 16},
    "channel_base": 256, "channel_max": 16, "num_fp16_res": 0, "conv_clamp": None, "architecture": "skip",
    "fused_modconv_default": "inference_only",
}  # fmt: skip
RENDER_SIZE = 12


def small_facts(kind: str, **rendering: Any) -> dict[str, Any]:
    """The facts that `convert_gan` returns for a small generator."""
    parsing = {"parsing_flag": True} if kind == "spherehead" else {}
    return {
        "kind": kind, "class_name": "TriPlaneGenerator", "init_kwargs": {**ARGUMENTS, **parsing},
        "rendering_kwargs": {**RENDERING, **rendering}, "neural_rendering_resolution": RENDER_SIZE,
    }  # fmt: skip


def small_gan(kind: str, seed: int = 0, **rendering: Any) -> HeadGan:
    """A generator with random weights, whose head is neither empty nor opaque."""
    torch.manual_seed(seed)
    model = HeadGan(read_settings(kind, small_facts(kind, **rendering)))
    for name, value in model.state_dict().items():
        if not name.endswith("resample_filter"):
            value += 0.1 * torch.randn(value.shape)
    last = model.decoder.net[2]
    assert isinstance(last, FullyConnected)
    last.bias.data[0] += 3.0
    return model.eval().requires_grad_(False)


class Persistent:
    """Pickles as an object of `torch_utils.persistence` does."""

    def __init__(self, class_name: str, state: dict[str, Any], source: str = "raise RuntimeError('ran')") -> None:
        self.meta = {"type": "class", "version": 6, "module_src": source, "class_name": class_name, "state": state}

    def __reduce__(self) -> tuple[Any, tuple[Any]]:
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


@contextmanager
def official_modules() -> Iterator[dict[str, Any]]:
    """Empty modules with the official names that pickles refer to."""
    modules = {
        name: types.ModuleType(name)
        for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util", "training", "training.rays")
    }

    def _reconstruct_persistent_obj(meta: object) -> object:
        raise AssertionError("a pickle was executed")

    persistent = _reconstruct_persistent_obj
    persistent.__module__, persistent.__qualname__ = "torch_utils.persistence", "_reconstruct_persistent_obj"
    easy = type("EasyDict", (dict,), {"__module__": "dnnlib.util", "__qualname__": "EasyDict"})
    sampler = type("RaySampler", (nn.Module,), {"__module__": "training.rays", "__qualname__": "RaySampler"})
    modules["torch_utils.persistence"].__dict__["_reconstruct_persistent_obj"] = persistent
    modules["dnnlib.util"].__dict__["EasyDict"] = easy
    modules["training.rays"].__dict__["RaySampler"] = sampler
    sys.modules.update(modules)
    try:
        yield {"EasyDict": easy, "RaySampler": sampler}
    finally:
        for name in modules:
            del sys.modules[name]


def write_checkpoint(path: Path, model: HeadGan, facts: Mapping[str, Any], **changes: Any) -> None:
    """The checkpoint of a generator as official training writes it; `changes` replace entries of its state."""
    with official_modules() as classes:
        easy = classes["EasyDict"]
        rendering = easy(facts["rendering_kwargs"])
        state = _state(model)
        state["_modules"]["ray_sampler"] = classes["RaySampler"]()
        state |= {
            "rendering_kwargs": rendering, "neural_rendering_resolution": facts["neural_rendering_resolution"],
            "_init_args": (), "_init_kwargs": easy({**facts["init_kwargs"], "rendering_kwargs": rendering}),
            "_last_planes": None,
        }  # fmt: skip
        generator = Persistent("TriPlaneGenerator", state | changes)
        content = {"G": None, "D": None, "G_ema": generator, "training_set_kwargs": easy(), "augment_pipe": None}
        path.write_bytes(pickle.dumps(content))


def _state(module: nn.Module) -> dict[str, Any]:
    """Attributes of a module, those inside as the official code has them."""
    inner = {name: None if child is None else _persistent(child) for name, child in module._modules.items()}
    return {
        "training": False, "_parameters": module._parameters, "_buffers": module._buffers, "_modules": inner,
        "_non_persistent_buffers_set": set(),
    }  # fmt: skip


def _persistent(module: nn.Module) -> Any:
    if isinstance(module, nn.Softplus):
        return module
    if isinstance(module, nn.Sequential):
        chain = nn.Sequential()
        chain.__dict__["_modules"] = {name: _persistent(child) for name, child in module.named_children()}
        return chain
    return Persistent("OSGDecoder" if isinstance(module, Decoder) else type(module).__name__, _state(module))
