"""Gaussian splatting: one call with gsplat's semantics, three backends behind it.

`torch` is the readable reference implementation, `cpu` the fast kernels for processors, `gsplat` the CUDA library.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from headforge.errors import ConfigError, ShapeError
from headforge.render.projection import EPS2D_PX2, NEAR_PLANE_M
from headforge.render.spherical_harmonics import splat_colors
from headforge.render.splatting import cpu, gsplat_backend, torch_twin
from headforge.render.splatting.scene import SplatScene, check_finite, make_scene

RenderMode = Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"]
RasterizeMode = Literal["classic", "antialiased"]
Backend = Literal["auto", "torch", "cpu", "gsplat"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplatResult:
    """Result of splatting."""

    image: Tensor
    """[..., M, H, W, C], plus the depth channel last if requested; premultiplied by alpha if no background."""
    alpha: Tensor
    """[..., M, H, W, 1] in [0, 1)."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """gsplat's packed densification info: "means2d" (with `.absgrad` after the backward pass), "radii",
    "gaussian_ids", "width" ... Empty for other backends."""


def splat(
    means: Tensor,
    quats: Tensor | None,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    backgrounds: Tensor | None = None,
    render_mode: RenderMode = "RGB",
    rasterize_mode: RasterizeMode = "classic",
    sh_degree: int | None = None,
    backend: Backend = "auto",
    eps2d: float = EPS2D_PX2,
    near_plane: float = NEAR_PLANE_M,
) -> SplatResult:
    """Render N Gaussians with M cameras, for every scene of the batch dimensions `...`.

    Batch dimensions are those of means and viewmats broadcast together; any other tensor may lack them or have ones.

    Args:
        means: [..., N, 3] world, metres.
        quats: [..., N, 4] wxyz, normalised here; None for no rotation.
        scales: [..., N, 3] standard deviations in metres, or [..., N] for spheres.
        opacities: [..., N] in [0, 1].
        colors: [..., N, C], or [..., M, N, C] for one set per camera (all batch dimensions present then). With
            sh_degree: SH coefficients [..., N, K, 3] or [..., M, N, K, 3].
        viewmats: [..., M, 4, 4] world to camera.
        Ks: [..., M, 3, 3] pixels. Not differentiated.
        width: pixels.
        height: pixels.
        backgrounds: [..., M, C] behind the picture.
        render_mode: D is depth blended like a colour, ED is D divided by alpha (the expected depth).
        rasterize_mode: "antialiased" lowers the opacity of Gaussians that `eps2d` widens (Yu et al. 2024).
        sh_degree: colours are spherical harmonics up to this degree, seen from each camera.
        backend: "auto" is "gsplat" for CUDA tensors and "cpu" for float32 on the processor, otherwise "torch".
        eps2d: added to the projected variances, square pixels.
        near_plane: Gaussians nearer than this are not drawn, metres.

    Differentiable with respect to means, quats, scales, opacities, colors, viewmats and backgrounds.
    """
    if sh_degree is not None:
        colors = splat_colors(sh_degree, means, viewmats, colors)
    if render_mode in ("D", "ED"):
        colors, backgrounds = means.new_zeros(means.shape[-2], 0), None
    elif colors.dim() < 2:
        raise ShapeError("colors", "[..., N, C]", tuple(colors.shape))
    if render_mode not in ("RGB", "D", "ED", "RGB+D", "RGB+ED") or rasterize_mode not in ("classic", "antialiased"):
        found = (render_mode, rasterize_mode)
        raise ConfigError("splat.render_mode", found, f"there is no render mode {found}.",
                          "RGB, D, ED, RGB+D or RGB+ED; classic or antialiased.")  # fmt: skip
    scene = make_scene(
        means, quats, scales, opacities, colors, viewmats, Ks, width, height, backgrounds=backgrounds, eps2d=eps2d,
        near_plane=near_plane, antialiased=rasterize_mode == "antialiased", with_depth=render_mode != "RGB",
    )  # fmt: skip
    image, alpha, info = _render(scene, backend)
    if render_mode in ("ED", "RGB+ED"):
        image = torch.cat([image[..., :-1], image[..., -1:] / alpha.clamp_min(1e-10)], dim=-1)
    return SplatResult(
        image.reshape(*scene.batch_shape, *image.shape[1:]),
        alpha.reshape(*scene.batch_shape, *alpha.shape[1:]),
        info,
    )


def _render(scene: SplatScene, backend: Backend) -> tuple[Tensor, Tensor, Mapping[str, Any]]:
    chosen = _choose(scene, backend)
    check_finite(scene)
    if 0 in (scene.n_scenes, scene.n_cameras, scene.width, scene.height):
        shape = (scene.n_scenes, scene.n_cameras, scene.height, scene.width)
        return scene.means.new_zeros(*shape, scene.n_channels), scene.means.new_zeros(*shape, 1), {}
    if chosen == "gsplat":
        return gsplat_backend.render(scene)
    return (*(cpu.render if chosen == "cpu" else torch_twin.render)(scene), {})


def _choose(scene: SplatScene, backend: Backend) -> str:
    """Return the backend to use. Raises ConfigError for an impossible choice."""
    device, dtype = scene.means.device, scene.means.dtype
    if backend == "auto":
        name = "gsplat" if device.type == "cuda" else "cpu" if device.type == "cpu" else "torch"
        name = name if dtype == torch.float32 else "torch"
        _log_choice(name, str(device), str(dtype))
        return name
    if backend not in ("torch", "cpu", "gsplat"):
        raise ConfigError("splat.backend", backend, f"there is no splatting backend '{backend}'.",
                          "auto, torch, cpu or gsplat.")  # fmt: skip
    wanted = {"cpu": "cpu", "gsplat": "cuda"}.get(backend, device.type)
    if device.type != wanted:
        raise ConfigError("splat.backend", backend, f"the backend '{backend}' needs {wanted} tensors, got {device}.",
                          _how_to_use(backend))  # fmt: skip
    if backend != "torch" and dtype != torch.float32:
        raise ConfigError("splat.backend", backend, f"the backend '{backend}' computes in float32, got {dtype}.",
                          "pass float32 tensors, or use backend='torch'.")  # fmt: skip
    return backend


def _how_to_use(backend: str) -> str:
    """Return the advice for tensors on another device than the backend's."""
    if backend == "cpu":
        return "move the tensors to the CPU, or use backend='auto' or 'torch'."
    if not torch.cuda.is_available():
        return ("gsplat runs on NVIDIA GPUs only and none is visible here: use backend='auto' or 'cpu'; on a machine "
                "with one, pip install 'headforge[gpu]' with a CUDA build of torch.")  # fmt: skip
    return "move the tensors to the GPU (pip install 'headforge[gpu]' if gsplat is missing), or use backend='auto'."


@cache
def _log_choice(name: str, device: str, dtype: str) -> None:
    """Log the backend once per process and choice."""
    detail = f" ({cpu.description()})" if name == "cpu" else ""
    _log.info("splatting %s %s tensors with the backend '%s'%s", device, dtype, name, detail)
