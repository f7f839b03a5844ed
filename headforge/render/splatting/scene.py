"""Input of a splatting backend: checked tensors with batch dimensions flattened to scenes x cameras."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headforge.errors import ConfigError, NotFiniteError, ShapeError


@dataclass(frozen=True)
class View:
    """One scene seen by one camera, unbatched."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmat: Tensor
    K: Tensor
    background: Tensor | None


@dataclass(frozen=True)
class SplatScene:
    """B scenes of N Gaussians, M cameras each. A leading 1 in place of B or M: shared by all."""

    means: Tensor
    """[B | 1, N, 3]"""
    quats: Tensor
    """[B | 1, N, 4]"""
    scales: Tensor
    """[B | 1, N, 3]"""
    opacities: Tensor
    """[B | 1, N]"""
    colors: Tensor
    """[B | 1, M | 1, N, C]"""
    viewmats: Tensor
    """[B, M, 4, 4]"""
    Ks: Tensor
    """[B, M, 3, 3]; no backend differentiates these."""
    backgrounds: Tensor | None
    """[B, M, C]"""
    width: int
    height: int
    eps2d: float
    near_plane: float
    antialiased: bool
    with_depth: bool
    """Whether depth is appended to the colours as another channel, over a background of zero."""
    batch_shape: tuple[int, ...]
    """The caller's batch dimensions, of product B."""

    @property
    def n_scenes(self) -> int:
        """B."""
        return self.viewmats.shape[0]

    @property
    def n_cameras(self) -> int:
        """M."""
        return self.viewmats.shape[1]

    @property
    def n_gaussians(self) -> int:
        """N."""
        return self.means.shape[1]

    @property
    def n_channels(self) -> int:
        """Channels of the image, depth included."""
        return self.colors.shape[-1] + self.with_depth

    def view(self, b: int, m: int) -> View:
        """Return scene `b` seen by its camera `m`."""
        colors = _shared(self.colors, b)
        return View(
            _shared(self.means, b),
            _shared(self.quats, b),
            _shared(self.scales, b),
            _shared(self.opacities, b),
            _shared(colors, m),
            self.viewmats[b, m],
            self.Ks[b, m],
            None if self.backgrounds is None else self.backgrounds[b, m],
        )


def _shared(x: Tensor, index: int) -> Tensor:
    return x[0] if len(x) == 1 else x[index]


def make_scene(
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
    backgrounds: Tensor | None,
    eps2d: float,
    near_plane: float,
    antialiased: bool,
    with_depth: bool,
) -> SplatScene:
    """Check every shape and flatten the batch dimensions. See `splat` for what is accepted."""
    for name, x, least in (("means", means, 2), ("viewmats", viewmats, 3), ("Ks", Ks, 3)):
        if x.dim() < least:
            raise ShapeError(name, {"means": "[..., N, 3]", "viewmats": "[..., M, 4, 4]", "Ks": "[..., M, 3, 3]"}[name],
                             tuple(x.shape))  # fmt: skip
    if width < 0 or height < 0:
        raise ConfigError("splat.width", (width, height), f"the image size is {width} x {height}.",
                          "give a width and a height of at least 0.")  # fmt: skip
    n, m, c = means.shape[-2], viewmats.shape[-3], colors.shape[-1] if colors.dim() else 0
    try:
        batch = np.broadcast_shapes(means.shape[:-2], viewmats.shape[:-3])
    except ValueError:
        expected = f"batch dimensions that fit those of viewmats, {tuple(viewmats.shape[:-3])}"
        raise ShapeError("means", expected, tuple(means.shape)) from None
    if scales.shape[-2:] != (n, 3) and scales.shape[-1:] == (n,):
        scales = scales[..., None].expand(*scales.shape, 3)
    if quats is None:
        quats = means.new_tensor([1.0, 0.0, 0.0, 0.0]).expand(n, 4)
    per_camera = colors.dim() == len(batch) + 3
    return SplatScene(
        means=_flat("means", means, batch, (n, 3), "N, 3"),
        quats=_flat("quats", quats, batch, (n, 4), "N, 4"),
        scales=_flat("scales", scales, batch, (n, 3), "N, 3"),
        opacities=_flat("opacities", opacities, batch, (n,), "N"),
        colors=_flat("colors", colors, batch, (m, n, c), "M, N, C")
        if per_camera
        else _flat("colors", colors, batch, (n, c), "N, C")[:, None],
        viewmats=_flat("viewmats", viewmats, batch, (m, 4, 4), "M, 4, 4", whole=True),
        Ks=_flat("Ks", Ks.detach(), batch, (m, 3, 3), "M, 3, 3", whole=True),
        backgrounds=None
        if backgrounds is None
        else _flat("backgrounds", backgrounds, batch, (m, c), "M, C", whole=True),
        width=width,
        height=height,
        eps2d=eps2d,
        near_plane=near_plane,
        antialiased=antialiased,
        with_depth=with_depth,
        batch_shape=batch,
    )


def _flat(
    name: str, x: Tensor, batch: tuple[int, ...], tail: tuple[int, ...], axes: str, *, whole: bool = False
) -> Tensor:
    """Flatten [*, tail] to [B, tail], or to [1, tail] without batch dimensions if `whole` is false."""
    if x.shape == tail and not whole:
        return x[None]
    lead = x.dim() - len(tail)
    fits = lead >= 0 and tuple(x.shape[lead:]) == tail and lead <= len(batch)
    fits = fits and all(s in (1, b) for s, b in zip(x.shape[:lead], batch[len(batch) - lead :], strict=True))
    if not fits:
        sizes = ", ".join(str(size) for size in (*batch, *tail))
        raise ShapeError(name, f"[..., {axes}] = [{sizes}]", tuple(x.shape))
    if not whole and math.prod(x.shape[:lead]) == 1:
        return x.reshape(1, *tail)
    return x.expand(*batch, *tail).reshape(math.prod(batch), *tail)


def check_finite(scene: SplatScene) -> None:
    """Raise `NotFiniteError` for the first tensor that holds NaN or infinity."""
    if scene.means.is_meta:  # meta tensors have no values
        return
    names = ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "backgrounds")
    tensors = {name: getattr(scene, name) for name in names if getattr(scene, name) is not None}
    # Sums are several times cheaper than checking every value; overflow only causes an unneeded check.
    if math.isfinite(float(torch.stack([x.detach().sum() for x in tensors.values()]).sum())):
        return
    for name, x in tensors.items():
        finite = torch.isfinite(x)
        if not bool(finite.all()):
            raise NotFiniteError(name, int((~finite).sum()), finite.numel())
