"""LPIPS 0.1 (Zhang et al. 2018) over AlexNet or VGG16, from torchvision's trunk and the authors' linear layers.

Both pictures pass through the trunk; the channels of five layers are normalised to unit length, their squared
differences weighted by a learned weight per channel, averaged over the picture and summed over the layers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from headforge.errors import DataError, InputError, ShapeError
from headforge.pickles import check_downloaded
from headforge.priors.assets import Asset, Kind, Options, Sources
from headforge.priors.tensor_files import AGAIN, check_tensors, read_tensors, save_tensors
from headforge.store.files import sha256_file

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""For inputs in [-1, 1]: ImageNet's mean and standard deviation in that range, rounded as by the authors."""
NORM_EPS = 1e-10
WEIGHTS_FILE = "weights.safetensors"
TRUNK, LINEAR = "trunk", "linear"
FIRST_LINEAR = "lin0.model.1.weight"
MAX_LINEAR_BYTES = 1 << 20
"""The published linear layers are 6 to 11 kB."""
_HUB_NAME = re.compile(r"-([0-9a-f]{8})\.pth$")
"""torchvision's file names contain the first digits of their SHA-256."""

_ALEX: Sequence[tuple[str, tuple[int, ...]]] = (
    ("conv", (3, 64, 11, 4, 2)), ("tap", ()), ("pool", (3, 2)), ("conv", (64, 192, 5, 1, 2)), ("tap", ()),
    ("pool", (3, 2)), ("conv", (192, 384, 3, 1, 1)), ("tap", ()), ("conv", (384, 256, 3, 1, 1)), ("tap", ()),
    ("conv", (256, 256, 3, 1, 1)), ("tap", ()),
)  # fmt: skip
"""Layers of the trunk: convolutions (in, out, kernel, stride, padding), a ReLU whose output is used, max pooling."""


def _vgg() -> Sequence[tuple[str, tuple[int, ...]]]:
    layers: list[tuple[str, tuple[int, ...]]] = []
    n_in = 3
    for n_out, n_convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for index in range(n_convolutions):
            layers.append(("conv", (n_in, n_out, 3, 1, 1)))
            layers.append(("relu" if index < n_convolutions - 1 else "tap", ()))
            n_in = n_out
        layers.append(("pool", (2, 2)))
    return layers[:-1]


TRUNKS: Mapping[str, Sequence[tuple[str, tuple[int, ...]]]] = {"alex": _ALEX, "vgg": _vgg()}


class Lpips(nn.Module):
    """The LPIPS distance, with weights in evaluation mode; parameters are named as in the files."""

    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: str) -> None:
        super().__init__()
        self.trunk = trunk
        self.features = nn.Sequential(*[_layer(kind, sizes) for kind, sizes in TRUNKS[trunk]])
        self.taps = [index for index, (kind, _) in enumerate(TRUNKS[trunk]) if kind == "tap"]
        widths = [sizes[1] for kind, sizes in TRUNKS[trunk] if kind == "conv"]
        after = [sum(kind == "conv" for kind, _ in TRUNKS[trunk][:tap]) - 1 for tap in self.taps]
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(widths[index])) for index in after])
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None], persistent=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance [B] of pictures [B, 3, H, W] in [0, 1], rescaled to [-1, 1]; 0 for equal ones."""
        for name, image in (("a", a), ("b", b)):
            if image.ndim != 4 or image.shape[1] != 3 or image.shape != a.shape:
                raise ShapeError(name, "[B, 3, H, W], both the same", tuple(image.shape))
        layers = zip(self.weights, self._unit_features(a), self._unit_features(b), strict=True)
        return torch.stack(
            [((x - y).square() * weight[:, None, None]).sum(1).mean((1, 2)) for weight, x, y in layers]
        ).sum(0)

    def _unit_features(self, image: Tensor) -> list[Tensor]:
        found = []
        x = (2 * image - 1 - self.shift) / self.scale
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + NORM_EPS))
        return found


def _layer(kind: str, sizes: tuple[int, ...]) -> nn.Module:
    if kind == "conv":
        n_in, n_out, kernel, stride, padding = sizes
        return nn.Conv2d(n_in, n_out, kernel, stride, padding)
    return nn.MaxPool2d(sizes[0], sizes[1]) if kind == "pool" else nn.ReLU()


@dataclass(frozen=True)
class LpipsMetric:
    """LPIPS with the fields of its protocol."""

    metric: str
    """"lpips_alex" or "lpips_vgg"."""
    backend: str
    weights_sha256: str
    """Of the converted weights."""
    network: Lpips

    @torch.no_grad()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance [B] of pictures [B, 3, H, W] in [0, 1]."""
        return self.network(a, b)


def load_lpips(asset: Asset, device: torch.device | str = "cpu") -> LpipsMetric:
    """Load the metric of an asset of the kind "lpips-alex" or "lpips-vgg" on `device`.

    Raises DataError if its files don't fit.
    """
    trunk = asset.kind.removeprefix("lpips-")
    if trunk not in TRUNKS:
        raise DataError(
            asset.folder, f"an asset of the kind {asset.kind} is not LPIPS.", "name one of lpips-alex, -vgg."
        )
    path = asset.folder / WEIGHTS_FILE
    network = Lpips(trunk)
    try:
        network.load_state_dict(load_file(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            path, f"{path} does not hold LPIPS's weights ({error}).", "headforge verify --repair"
        ) from error
    return LpipsMetric(
        f"lpips_{trunk}", "headforge", sha256_file(path), network.eval().requires_grad_(False).to(device)
    )


def trunk_shapes(trunk: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of torchvision's `features.N.weight` and `.bias`."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index, (kind, sizes) in enumerate(TRUNKS[trunk]):
        if kind == "conv":
            n_in, n_out, kernel = sizes[:3]
            shapes |= {f"features.{index}.weight": (n_out, n_in, kernel, kernel), f"features.{index}.bias": (n_out,)}
    return shapes


def linear_shapes(trunk: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the authors' `lin{k}.model.1.weight`."""
    return {f"lin{k}.model.1.weight": (1, len(w), 1, 1) for k, w in enumerate(Lpips(trunk).weights)}


def _find(paths: Sequence[Path], options: Options) -> Sources:
    """Return both files by role: the small file with the linear layers' tensor names, and the trunk."""
    if len(paths) != 2:
        raise InputError(
            " ".join(str(path) for path in paths),
            f"{len(paths)} files were given; LPIPS needs two: the trunk and the linear layers.",
            "give both, such as alexnet-owt-7be5be79.pth and lpips/weights/v0.1/alex.pth.",
        )
    for path in paths:
        check_downloaded(path)
    small = [path for path in paths if path.stat().st_size <= MAX_LINEAR_BYTES]
    linear = [path for path in small if FIRST_LINEAR in read_tensors(path)]
    if len(linear) != 1:
        named = " and ".join(f"'{path}'" for path in paths)
        found = "both are" if linear else "neither is"
        raise InputError(
            named, f"of {named} {found} the file with LPIPS's linear layers, which has a tensor {FIRST_LINEAR}.",
            "give one trunk and one file of linear layers.",
        )  # fmt: skip
    trunk = next(path for path in paths if path != linear[0])
    return {TRUNK: trunk, LINEAR: linear[0]}


def _convert(trunk: str, sources: Sources, folder: Path, options: Options) -> dict[str, Any]:
    named = _HUB_NAME.search(sources[TRUNK].name)
    if named and not sha256_file(sources[TRUNK]).startswith(named[1]):
        found = sha256_file(sources[TRUNK])[:8]
        message = f"the SHA-256 of '{sources[TRUNK]}' begins with {found}, not with the {named[1]} of its name."
        raise InputError(sources[TRUNK], message, AGAIN)
    what = {"alex": "AlexNet of torchvision", "vgg": "VGG16 of torchvision"}[trunk]
    features = read_tensors(sources[TRUNK], options.trust)
    features = check_tensors(sources[TRUNK], features, trunk_shapes(trunk), f"trunk of LPIPS ({what})")
    linear = read_tensors(sources[LINEAR], "")
    linear = check_tensors(sources[LINEAR], linear, linear_shapes(trunk), f"linear layers of LPIPS for {what}")
    weights = {f"weights.{k}": tensor.flatten().float() for k, tensor in enumerate(linear.values())}
    save_tensors(folder / WEIGHTS_FILE, weights | {name: tensor.float() for name, tensor in features.items()})
    return {"version": "0.1", "trunk": trunk}


def _kind(trunk: str, title: str, example: str) -> Kind:
    return Kind(
        name=f"lpips-{trunk}",
        title=f"LPIPS 0.1 over {title}, a metric of perceived difference",
        gives=f"two files: torchvision's {example} and the authors' lpips/weights/v0.1/{trunk}.pth",
        licences=("lpips", "torchvision-imagenet"),
        version=1,
        find=_find,
        convert=lambda sources, folder, options: _convert(trunk, sources, folder, options),
    )


LPIPS_ALEX = _kind("alex", "AlexNet", "alexnet-owt-7be5be79.pth")
LPIPS_VGG = _kind("vgg", "VGG16", "vgg16-397923af.pth")
