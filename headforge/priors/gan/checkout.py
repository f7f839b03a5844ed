"""Adapter for the official code of SphereHead or PanoHead from a user-supplied checkout.

This is the only place where external code runs, and only if the user gives its path, to reproduce the official numbers
bit for bit. The weights come from the converted asset, so that no pickle is loaded.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headforge.errors import InputError, MissingExtraError
from headforge.geometry.cameras import camera_to_eg3d
from headforge.priors.gan.convert import check_weights
from headforge.priors.gan.model import GanViews
from headforge.priors.gan.renderer import Jitter, camera_rays
from headforge.priors.gan.settings import read_settings
from headforge.types import Camera

PACKAGES = ("dnnlib", "torch_utils", "training")
MODULE = "training.triplane"
MARKS = ("training/triplane.py", "torch_utils/persistence.py", "dnnlib/util.py")
HELP = "give the folder of a clone of the official repository (lhyfst/SphereHead, SizheAn/PanoHead)."


class OfficialGan:
    """The interface of `HeadGan`, implemented by the official `TriPlaneGenerator` of a checkout.

    Raises InputError if `checkout` is not a checkout or its generator has other weights, MissingExtraError if its code
    imports a package that is not installed. One checkout per process: the packages of both have the same names.
    """

    def __init__(self, checkout: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        source = str(checkout)
        check_weights(tensors, facts, source)
        self.settings = read_settings(str(facts["kind"]), facts, source)
        kwargs = {**facts["init_kwargs"], "rendering_kwargs": dict(facts["rendering_kwargs"])}
        self.module: Any = official_class(checkout)(**kwargs).eval().requires_grad_(False)
        try:
            self.module.load_state_dict(dict(tensors), strict=True)
        except RuntimeError as error:
            lines = " ".join(str(error).split())[:300]
            raise InputError(source, f"the generator of {source} has other weights: {lines}", HELP) from error

    def to(self, device: torch.device | str) -> OfficialGan:
        """Move the weights."""
        self.module.to(device)
        return self

    def styles(self, z: Tensor, label: Tensor, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """Compute styles, as `HeadGan.styles`."""
        return self.module.mapping(z, label, truncation_psi=psi, truncation_cutoff=cutoff)

    def planes(self, ws: Tensor, half: bool = True) -> Tensor:
        """Return the official backbone's output for styles ws [B, n_ws, w_dim], to be passed to `render`."""
        return self.module.backbone.synthesis(ws, noise_mode="const", force_fp32=not half)

    def background(self, ws: Tensor) -> Tensor | None:
        """Return None: the official code computes the background with each view."""
        return None

    def render(
        self,
        planes: Tensor,
        ws: Tensor,
        camera: Camera,
        jitters: Sequence[Jitter],
        background: Tensor | None = None,
        half: bool = True,
    ) -> GanViews:
        """Render views one by one, as `HeadGan.render`."""
        views = [self._view(planes, ws, camera[i], jitter, half) for i, jitter in enumerate(jitters)]
        has_parsing = views[0].parsing is not None
        names = ("image", "raw", "ray_depth", "z_depth", "mask", *(["parsing"] if has_parsing else []))
        return GanViews(**{name: torch.cat([getattr(view, name) for view in views]) for name in names})

    def _view(self, planes: Tensor, ws: Tensor, camera: Camera, jitter: Jitter, half: bool) -> GanViews:
        size = camera.width
        self.module._last_planes = planes
        with _drawn(jitter):
            found = self.module.synthesis(
                ws, camera_to_eg3d(camera)[None], neural_rendering_resolution=size, use_cached_backbone=True,
                noise_mode="const", force_fp32=not half,
            )  # fmt: skip
        depth = found["image_depth"]
        stretch = camera_rays(camera)[2].reshape(1, 1, size, size)
        return GanViews(
            found["image"], found["image_raw"], depth, depth / stretch, found["image_mask"], found.get("image_parsing")
        )


def official_class(checkout: Path) -> Any:
    """Import the class `TriPlaneGenerator` of a checkout; this runs the checkout's code."""
    folder = checkout.resolve()
    for mark in MARKS:
        if not (folder / mark).is_file():
            raise InputError(checkout, f"{checkout} is not a checkout of the official code: it has no {mark}.", HELP)
    for name in PACKAGES:
        loaded = getattr(sys.modules.get(name), "__file__", None)
        if loaded is not None and folder not in Path(loaded).resolve().parents:
            message = f"this process has loaded '{name}' from {Path(loaded).parent.parent} already."
            raise InputError(checkout, message, "use one checkout per run.")
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(MODULE).TriPlaneGenerator
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "?", "photos", f"the official code in {checkout}") from error
    finally:
        sys.path.remove(str(folder))


@contextlib.contextmanager
def _drawn(jitter: Jitter) -> Iterator[None]:
    """Replace the official renderer's two random draws by `jitter` within the context."""
    rand, rand_like = torch.rand, torch.rand_like

    def given(values: Tensor, shape: Sequence[int]) -> Tensor:
        if values.numel() != torch.Size(shape).numel():
            raise ValueError(f"the official code drew {tuple(shape)} numbers, not {tuple(values.shape)}")
        return values.reshape(*shape)

    torch.rand_like = lambda x, **_: given(jitter.coarse, x.shape)
    torch.rand = lambda *shape, **_: given(jitter.fine, shape)
    try:
        yield
    finally:
        torch.rand, torch.rand_like = rand, rand_like
