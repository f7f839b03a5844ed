"""The fast splatting backend for processors: an autograd function around the numba kernels.

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
from headforge.render import splat_kernels, splat_project
from headforge.render.scratch import borrow, give_back
from headforge.render.splat_project import GEOMETRY, MOMENTS, PART
from headforge.render.splat_scene import SplatScene
from headforge.render.threads import kernel_threads, run_ranges


def instruction_set() -> str:
    """The widest vectors that the kernels are compiled for: "avx512", "avx2", "neon" or "generic".

    What the processor has, unless numba was told otherwise (NUMBA_CPU_FEATURES, NUMBA_ENABLE_AVX).
    """
    chosen: str | None = getattr(config, "CPU_FEATURES", None)
    features = (get_host_cpu_features() if chosen is None else chosen).split(",")
    for name in ("avx512", "avx2", "neon"):
        if any(feature.startswith(f"+{name}") for feature in features):
            return name
    return "generic"


def description() -> str:
    """Which instruction set and how many threads."""
    return f"{instruction_set()}, {kernel_threads()} thread(s)"


def render(scene: SplatScene) -> tuple[Tensor, Tensor]:
    """Image [B, M, H, W, C (+1 with depth)] and alpha [B, M, H, W, 1]; float32 tensors on the processor."""
    if max(scene.width, scene.height) > splat_project.MAX_SIZE_PX:
        raise ConfigError("splat.width", (scene.width, scene.height), f"{scene.width} x {scene.height} is too large.",
                          f"at most {splat_project.MAX_SIZE_PX} pixels a side.")  # fmt: skip
    return _Splat.apply(
        scene.means, scene.quats, scene.scales, scene.opacities, scene.colors, scene.viewmats, scene.backgrounds, scene
    )  # type: ignore[return-value]


@dataclass(frozen=True)
class _Arrays:
    """One image's inputs as the kernels want them, in the order of `_Splat`'s tensors."""

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
    """One image's records and tile lists, kept for the way back."""

    records: np.ndarray
    tile_starts: np.ndarray
    entries: np.ndarray
    pair_starts: np.ndarray
    pair_entries: np.ndarray
    used: np.ndarray


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
        image, transmittance = torch.empty(b, m, h, w, scene.n_channels), torch.empty(b, m, h, w)
        with_pairs = any(ctx.needs_input_grad)
        arrays = [_arrays(tensors, scene, k, c) for k in range(b) for c in range(m)]
        pixels = zip(image.flatten(0, 1).numpy(), transmittance.flatten(0, 1).numpy(), strict=True)
        bins = [_forward_image(a, scene, *planes, with_pairs) for a, planes in zip(arrays, pixels, strict=True)]
        if with_pairs:
            ctx.scene, ctx.arrays, ctx.bins, ctx.has_background = scene, arrays, bins, backgrounds is not None
            ctx.save_for_backward(image, transmittance, *tensors)
        return image, (1 - transmittance)[..., None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_image: Tensor, grad_alpha: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        image, transmittance, *tensors = ctx.saved_tensors
        scene: SplatScene = ctx.scene
        m = scene.n_cameras
        grad_image, grad_alpha = grad_image.contiguous(), grad_alpha.contiguous()
        inputs = tensors[:6] + ([tensors[7]] if ctx.has_background else [])
        grads = [torch.zeros_like(x) for x in inputs]
        pixels = zip(
            *(x.flatten(0, 1).numpy() for x in (image, transmittance, grad_image, grad_alpha[..., 0])), strict=True
        )
        for n, planes in enumerate(pixels):
            k, c = divmod(n, m)
            places = _places(tensors, k, c)
            into = [grad[place].numpy() for grad, place in zip(grads[:5], places, strict=False)]
            view, background = _backward_image(ctx.arrays[n], ctx.bins[n], scene, list(planes), into)
            grads[5][k, c] = torch.from_numpy(view)
            if ctx.has_background:
                grads[6][k, c] = torch.from_numpy(background)
        return (*grads, None) if ctx.has_background else (*grads, None, None)


def _places(tensors: list[Tensor], k: int, c: int) -> list[tuple[int, ...]]:
    """Where scene k, camera c is in each tensor; shared ones have a leading 1."""
    places: list[tuple[int, ...]] = [(k if len(x) > 1 else 0,) for x in tensors]
    places[4] = (*places[4], c if tensors[4].shape[1] > 1 else 0)
    return places[:4] + [places[4]] + [(k, c)] * (len(tensors) - 6)


def _arrays(tensors: list[Tensor], scene: SplatScene, k: int, c: int) -> _Arrays:
    index = _places(tensors, k, c)
    means, quats, scales, opacities, colors = (
        x.detach()[place].numpy() for x, place in zip(tensors[:5], index, strict=False)
    )
    background = np.zeros(scene.n_channels, np.float32)
    if len(tensors) == 8:
        background[: colors.shape[-1]] = tensors[7][k, c].detach().numpy()
    viewmat, K = tensors[5][k, c].detach().numpy(), tensors[6][k, c].numpy()
    return _Arrays(means, quats, scales, opacities, colors, viewmat, K, background)


def _forward_image(
    arrays: _Arrays, scene: SplatScene, image: np.ndarray, transmittance: np.ndarray, with_pairs: bool
) -> _Bins:
    n, width, height = len(arrays.means), scene.width, scene.height
    tiles_x, tiles_y = -(-width // splat_kernels.TILE), -(-height // splat_kernels.TILE)
    stride = GEOMETRY + -(-scene.n_channels // 4) * 4
    records, keys = borrow(n * stride), np.empty(n, np.uint32)
    boxes = records.view(np.int32)
    flat = (arrays.means.reshape(-1), arrays.quats.reshape(-1), arrays.scales.reshape(-1), arrays.opacities)
    camera = (arrays.viewmat, arrays.K, width, height, np.float32(scene.eps2d))
    run_ranges(
        lambda first, last: splat_project.project(
            first, last, n, *flat, arrays.colors, *camera, np.float32(scene.near_plane), scene.antialiased,
            scene.with_depth, stride, records, boxes, keys),
        -(-n // PART),
    )  # fmt: skip
    order = splat_kernels.sort_visible(keys)
    tile_starts, entries, pair_starts, pair_entries = splat_kernels.bin_tiles(
        keys, order, stride, boxes, tiles_x, tiles_y, with_pairs
    )
    used = np.empty(tiles_x * tiles_y, np.int64)
    run_ranges(
        lambda first, last: splat_kernels.raster(
            first, last, tiles_x, width, height, tile_starts, entries, stride, records, boxes, arrays.background, image,
            transmittance, used),
        tiles_x * tiles_y,
    )  # fmt: skip
    bins = _Bins(records, tile_starts, entries, pair_starts, pair_entries, used)
    weakref.finalize(bins, give_back, records)
    return bins


def _backward_image(
    arrays: _Arrays, bins: _Bins, scene: SplatScene, pixels: list[np.ndarray], grads: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Add one image's gradients to `grads` (means to colours); return those of its viewmat and background."""
    n, n_channels, width, height = len(arrays.means), scene.n_channels, scene.width, scene.height
    tiles_x, n_tiles = -(-width // splat_kernels.TILE), len(bins.used)
    stride, slot_stride = GEOMETRY + -(-n_channels // 4) * 4, MOMENTS + -(-n_channels // 8) * 8
    slot_starts = np.cumsum(bins.used) - bins.used
    slots = borrow(int(bins.used.sum()) * slot_stride)
    background_parts = np.empty((n_tiles, n_channels), np.float32)
    boxes = bins.records.view(np.int32)
    run_ranges(
        lambda first, last: splat_kernels.raster_backward(
            first, last, tiles_x, width, height, bins.tile_starts, bins.used, slot_starts, bins.entries, stride,
            bins.records, boxes, *pixels, slots, slot_stride, background_parts),
        n_tiles,
    )  # fmt: skip
    view_parts = np.empty((-(-n // PART), 3, 4))
    flat = (arrays.means.reshape(-1), arrays.quats.reshape(-1), arrays.scales.reshape(-1), arrays.opacities)
    camera = (arrays.viewmat, arrays.K, width, height, np.float32(scene.eps2d), np.float32(scene.near_plane))
    pairs = (stride, boxes, tiles_x, bins.pair_starts, bins.pair_entries, bins.tile_starts, bins.used)
    run_ranges(
        lambda first, last: splat_project.project_backward(
            first, last, n, *flat, *camera, scene.antialiased, scene.with_depth, *pairs,
            slot_starts - bins.tile_starts[:-1], slots, slot_stride, *grads, view_parts),
        len(view_parts),
    )  # fmt: skip
    give_back(slots)
    view = np.zeros((4, 4), np.float32)
    view[:3] = view_parts.sum(axis=0)
    background = background_parts.sum(axis=0, dtype=np.float64).astype(np.float32)
    return view, background[: arrays.colors.shape[-1]]
