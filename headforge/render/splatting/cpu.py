"""The fast CPU splatting backend: an autograd function around the numba kernels.

Values and gradients are bitwise the same for any number of threads and from run to run on one machine.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numba.core import config
from numba.core.codegen import get_host_cpu_features
from torch import Tensor
from torch.autograd.function import once_differentiable

from headforge.errors import ConfigError
from headforge.render.splatting import kernels, project, project_backward
from headforge.render.splatting.project import GEOMETRY, PART
from headforge.render.splatting.project_backward import MOMENTS
from headforge.render.splatting.scene import SplatScene
from headforge.render.splatting.scratch import borrow, give_back
from headforge.render.threads import kernel_threads, run_ranges


def instruction_set() -> str:
    """Return the widest vector instructions of the compiled kernels: "avx512", "avx2", "neon" or "generic".

    The processor's, unless numba is configured otherwise (NUMBA_CPU_FEATURES, NUMBA_ENABLE_AVX).
    """
    chosen: str | None = getattr(config, "CPU_FEATURES", None)
    features = (get_host_cpu_features() if chosen is None else chosen).split(",")
    for name in ("avx512", "avx2", "neon"):
        if any(feature.startswith(f"+{name}") for feature in features):
            return name
    return "generic"


def description() -> str:
    """Return the instruction set and the number of threads as text."""
    return f"{instruction_set()}, {kernel_threads()} thread(s)"


def render(scene: SplatScene) -> tuple[Tensor, Tensor]:
    """Render image [B, M, H, W, C (+1 with depth)] and alpha [B, M, H, W, 1]; float32 tensors on the CPU."""
    if max(scene.width, scene.height) > project.MAX_SIZE_PX:
        raise ConfigError("splat.width", (scene.width, scene.height), f"{scene.width} x {scene.height} is too large.",
                          f"at most {project.MAX_SIZE_PX} pixels a side.")  # fmt: skip
    return _Splat.apply(
        scene.means, scene.quats, scene.scales, scene.opacities, scene.colors, scene.viewmats, scene.backgrounds, scene
    )  # type: ignore[return-value]


@dataclass(frozen=True)
class _Arrays:
    """One image's inputs as the kernels require them, in the order of `_Splat`'s tensors."""

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    colors: np.ndarray
    viewmat: np.ndarray
    K: np.ndarray
    background: np.ndarray


@dataclass(frozen=True)
class _Bins:
    """One image's records and tile lists, kept for the backward pass."""

    records: np.ndarray
    boxes: np.ndarray
    tile_starts: np.ndarray
    entries: np.ndarray
    masks: np.ndarray
    pair_starts: np.ndarray
    pair_entries: np.ndarray
    used_ends: np.ndarray


class _Splat(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        colors: Tensor,
        viewmats: Tensor,
        backgrounds: Tensor | None,
        scene: SplatScene,
    ) -> tuple[Tensor, Tensor]:
        tensors = [x.contiguous() for x in (means, quats, scales, opacities, colors, viewmats, scene.Ks)]
        if backgrounds is not None:
            tensors.append(backgrounds.contiguous())
        b, m, h, w = scene.n_scenes, scene.n_cameras, scene.height, scene.width
        image = torch.empty(b, m, h, w, scene.n_channels, device="cpu")
        transmittance = torch.empty(b, m, h, w, device="cpu")
        with_pairs = any(ctx.needs_input_grad)
        values = [x.detach().numpy() for x in tensors]
        arrays = [_arrays(values, scene, k, c) for k in range(b) for c in range(m)]
        images, transmittances = image.flatten(0, 1).numpy(), transmittance.flatten(0, 1).numpy()
        planes = zip(arrays, images, transmittances, strict=True)
        bins = [_forward_image(a, scene, pixels, light, with_pairs) for a, pixels, light in planes]
        if with_pairs:
            ctx.scene, ctx.arrays, ctx.bins, ctx.has_background = scene, arrays, bins, backgrounds is not None
            ctx.save_for_backward(image, transmittance, *tensors)
        return image, (1 - transmittance)[..., None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_image: Tensor, grad_alpha: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        image, transmittance, *tensors = ctx.saved_tensors
        m = ctx.scene.n_cameras
        inputs = tensors[:6] + tensors[7:]
        # A single image overwrites the gradients; several add to shared ones.
        is_alone = len(ctx.arrays) == 1
        grads = [torch.empty_like(x) if is_alone else torch.zeros_like(x) for x in inputs]
        values = [grad.numpy() for grad in grads]
        pixels = [x.numpy() for x in (image, transmittance, grad_image.contiguous(), grad_alpha[..., 0].contiguous())]
        for n, (arrays, bins) in enumerate(zip(ctx.arrays, ctx.bins, strict=True)):
            k, c = divmod(n, m)
            into = [grad[place] for grad, place in zip(values, _places(values, k, c), strict=False)]
            planes = [x[k, c] for x in pixels]
            values[5][k, c], background = _backward_image(arrays, bins, ctx.scene, planes, into, is_alone)
            if ctx.has_background:
                values[6][k, c] = background
        return (*grads, None) if ctx.has_background else (*grads, None, None)


def _places(arrays: list[np.ndarray], k: int, c: int) -> list[tuple[int, ...]]:
    """Return the indices of scene k, camera c in means, quats, scales, opacities, colors; shared ones have size 1."""
    places: list[tuple[int, ...]] = [(k if len(x) > 1 else 0,) for x in arrays[:5]]
    places[4] = (*places[4], c if arrays[4].shape[1] > 1 else 0)
    return places


def _arrays(values: list[np.ndarray], scene: SplatScene, k: int, c: int) -> _Arrays:
    means, quats, scales, opacities, colors = (
        x[place] for x, place in zip(values, _places(values, k, c), strict=False)
    )
    background = np.zeros(scene.n_channels, np.float32)
    if len(values) == 8:
        background[: values[7].shape[-1]] = values[7][k, c]
    return _Arrays(means, quats, scales, opacities, colors, values[5][k, c], values[6][k, c], background)


def _forward_image(
    arrays: _Arrays, scene: SplatScene, image: np.ndarray, transmittance: np.ndarray, with_pairs: bool
) -> _Bins:
    n, width, height = len(arrays.means), scene.width, scene.height
    n_padded, n_colors = -(-n // 16) * 16, arrays.colors.shape[1]
    tiles_x, tiles_y = -(-width // kernels.TILE), -(-height // kernels.TILE)
    stride = GEOMETRY + -(-scene.n_channels // 4) * 4
    records, boxes, keys = borrow(n_padded * stride), np.empty(2 * n_padded, np.int32), np.empty(n_padded, np.uint32)
    flat = (arrays.means.reshape(-1), arrays.quats.reshape(-1), arrays.scales.reshape(-1), arrays.opacities)
    camera = (arrays.viewmat, arrays.K, width, height, np.float32(scene.eps2d))
    run_ranges(
        lambda first, last: project.project(
            first, last, n, *flat, arrays.colors.reshape(-1), n_colors, *camera, np.float32(scene.near_plane),
            scene.antialiased, scene.with_depth, stride, records, boxes, keys),
        -(-n // PART),
    )  # fmt: skip
    order = kernels.sort_visible(keys)
    tile_starts, entries, masks, pair_starts, pair_entries = kernels.bin_tiles(
        keys, order, boxes, tiles_x, tiles_y, with_pairs
    )
    used_ends = np.empty(tiles_x * tiles_y, np.int64)
    run_ranges(
        lambda first, last: kernels.raster(
            first, last, tiles_x, width, height, tile_starts, entries, masks, stride, records, arrays.background, image,
            transmittance, used_ends),
        tiles_x * tiles_y,
    )  # fmt: skip
    bins = _Bins(records, boxes, tile_starts, entries, masks, pair_starts, pair_entries, used_ends)
    weakref.finalize(bins, give_back, records)
    return bins


def _backward_image(
    arrays: _Arrays,
    bins: _Bins,
    scene: SplatScene,
    pixels: list[np.ndarray],
    grads: list[np.ndarray],
    is_first: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Write or add one image's gradients to `grads` (means to colours); return those of viewmat and background."""
    n, n_channels, width, height = len(arrays.means), scene.n_channels, scene.width, scene.height
    tiles_x, n_tiles = -(-width // kernels.TILE), len(bins.used_ends)
    stride, slot_stride = GEOMETRY + -(-n_channels // 4) * 4, MOMENTS + max(-(-n_channels // 8) * 8, 8)
    slots = borrow(len(bins.entries) * slot_stride)
    background_parts = np.empty((n_tiles, n_channels), np.float32)
    run_ranges(
        lambda first, last: kernels.raster_backward(
            first, last, tiles_x, width, height, bins.tile_starts, bins.used_ends, bins.entries, bins.masks, stride,
            bins.records, *pixels, slots, slot_stride, background_parts),
        n_tiles,
    )  # fmt: skip
    view_parts = np.empty((-(-n // PART), 3, 4))
    flat = (arrays.means.reshape(-1), arrays.quats.reshape(-1), arrays.scales.reshape(-1), arrays.opacities)
    camera = (arrays.viewmat, arrays.K, width, height, np.float32(scene.eps2d), np.float32(scene.near_plane))
    pairs = (bins.boxes, tiles_x, bins.pair_starts, bins.pair_entries, bins.used_ends)
    flat_grads = [x.reshape(-1) for x in grads]
    run_ranges(
        lambda first, last: project_backward.project_backward(
            first, last, n, *flat, *camera, scene.antialiased, scene.with_depth, *pairs, slots, slot_stride,
            arrays.colors.shape[1], is_first, *flat_grads, view_parts),
        len(view_parts),
    )  # fmt: skip
    give_back(slots)
    view = np.zeros((4, 4), np.float32)
    view[:3] = view_parts.sum(axis=0)
    background = background_parts.sum(axis=0, dtype=np.float64).astype(np.float32)
    return view, background[: arrays.colors.shape[-1]]
