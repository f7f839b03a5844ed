"""LPIPS from files in the published layout against the formulas, written out again in numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from headforge.errors import InputError, ShapeError
from headforge.metrics.protocol import Protocol
from headforge.priors.assets import Options, add_asset, find_asset
from headforge.priors.kinds import KINDS
from headforge.priors.lpips import Lpips, load_lpips
from headforge.priors.tensor_files import TorchScriptError
from headforge.store.files import sha256_file
from headforge.store.objects.store import Store

# torchvision's `features`: index of each convolution with (out, in, kernel, stride, padding), by hand from its source.
ALEX = {0: (64, 3, 11, 4, 2), 3: (192, 64, 5, 1, 2), 6: (384, 192, 3, 1, 1), 8: (256, 384, 3, 1, 1),
        10: (256, 256, 3, 1, 1)}  # fmt: skip
ALEX_POOLS, ALEX_TAPS = {2: (3, 2), 5: (3, 2)}, (1, 4, 7, 9, 11)
VGG_WIDTHS = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512, 24: 512, 26: 512,
              28: 512}  # fmt: skip
VGG_POOLS, VGG_TAPS = {4: (2, 2), 9: (2, 2), 16: (2, 2), 23: (2, 2)}, (3, 8, 15, 22, 29)


def vgg() -> dict[int, tuple[int, int, int, int, int]]:
    inputs = [3, *VGG_WIDTHS.values()]
    return {index: (n, inputs[k], 3, 1, 1) for k, (index, n) in enumerate(VGG_WIDTHS.items())}


def trunk_file(path: Path, layers: dict[int, tuple[int, int, int, int, int]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for index, (n_out, n_in, kernel, _, _) in layers.items():
        weight = torch.randn(n_out, n_in, kernel, kernel, generator=generator) / (n_in * kernel**2) ** 0.5
        tensors |= {f"features.{index}.weight": weight, f"features.{index}.bias": 0.1 * torch.randn(n_out)}
    torch.save(tensors | {"classifier.6.bias": torch.zeros(1000)}, path)
    return tensors


def linear_file(path: Path, widths: tuple[int, ...]) -> list[torch.Tensor]:
    weights = [torch.rand(1, n, 1, 1, generator=torch.Generator().manual_seed(n)) for n in widths]
    torch.save({f"lin{k}.model.1.weight": weight for k, weight in enumerate(weights)}, path)
    return weights


@pytest.fixture(scope="module")
def alex_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("alex")
    torch.manual_seed(0)
    trunk_file(folder / "alexnet.pth", ALEX)
    linear_file(folder / "alex.pth", (64, 192, 384, 256, 256))
    return folder / "alexnet.pth", folder / "alex.pth"


def convolved(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """[C, H, W] float64, as a product of windows and weights."""
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
    return np.tensordot(weight, windows, ([1, 2, 3], [0, 3, 4])) + bias[:, None, None]


def pooled(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return windows[:, ::stride, ::stride].max((3, 4))


def features(image: np.ndarray, tensors: dict, layers: dict, pools: dict, taps: tuple[int, ...]) -> list[np.ndarray]:
    """Unit-length features of an image [3, H, W] in [0, 1]."""
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    x = (image * 2 - 1 - shift[:, None, None]) / scale[:, None, None]
    found = []
    for index in range(max(taps) + 1):
        if index in layers:
            *_, stride, padding = layers[index]
            weight, bias = (tensors[f"features.{index}.{name}"].double().numpy() for name in ("weight", "bias"))
            x = convolved(x, weight, bias, stride, padding)
        elif index in pools:
            x = pooled(x, *pools[index])
        else:
            x = np.maximum(x, 0)
        if index in taps:
            found.append(x / (np.sqrt((x**2).sum(0, keepdims=True)) + 1e-10))
    return found


def recomputed(a: np.ndarray, b: np.ndarray, tensors: dict, linear: list[torch.Tensor], *net: object) -> float:
    total = 0.0
    for x, y, weight in zip(features(a, tensors, *net), features(b, tensors, *net), linear, strict=True):  # type: ignore[arg-type]
        total += ((x - y) ** 2 * weight.double().numpy()[0]).sum(0).mean()
    return total


def pictures(size: int) -> torch.Tensor:
    return torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(3))


def test_alex_has_the_value_of_the_formulas(tmp_path: Path, alex_files: tuple[Path, Path]) -> None:
    store = Store(tmp_path)
    asset = add_asset(store, KINDS["lpips-alex"], alex_files)
    metric = load_lpips(asset)
    images = pictures(39)
    found = metric(images[:2], images[2:])
    tensors, linear = torch.load(alex_files[0]), list(torch.load(alex_files[1]).values())
    for k in range(2):
        a, b = images[k].double().numpy(), images[k + 2].double().numpy()
        assert float(found[k]) == pytest.approx(
            recomputed(a, b, tensors, linear, ALEX, ALEX_POOLS, ALEX_TAPS), rel=1e-4
        )
    assert metric(images, images).abs().max() == 0
    assert float((found - metric(images[2:], images[:2])).abs().max()) < 1e-6


def test_vgg_has_the_value_of_the_formulas(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = trunk_file(tmp_path / "vgg16.pth", vgg())
    linear = linear_file(tmp_path / "vgg.pth", (64, 128, 256, 512, 512))
    asset = add_asset(Store(tmp_path / "store"), KINDS["lpips-vgg"], [tmp_path / "vgg.pth", tmp_path / "vgg16.pth"])
    images = pictures(16)
    found = load_lpips(asset)(images[:1], images[1:2])
    a, b = images[0].double().numpy(), images[1].double().numpy()
    assert float(found) == pytest.approx(recomputed(a, b, tensors, linear, vgg(), VGG_POOLS, VGG_TAPS), rel=1e-4)


def test_the_metric_names_itself_and_its_weights(tmp_path: Path, alex_files: tuple[Path, Path]) -> None:
    asset = add_asset(Store(tmp_path), KINDS["lpips-alex"], alex_files)
    metric = load_lpips(asset)
    assert (metric.metric, metric.backend) == ("lpips_alex", "headforge")
    assert metric.weights_sha256 == sha256_file(asset.folder / "weights.safetensors")
    assert Protocol(metric.metric, metric.backend, metric.weights_sha256).hash != Protocol("lpips_alex", "other").hash


def test_the_same_files_again_are_found(tmp_path: Path, alex_files: tuple[Path, Path]) -> None:
    store = Store(tmp_path)
    first = add_asset(store, KINDS["lpips-alex"], alex_files)
    again = add_asset(store, KINDS["lpips-alex"], alex_files[::-1])
    assert first.is_new and not again.is_new and first.sha256 == again.sha256 and first.folder == again.folder
    found = find_asset(store, KINDS["lpips-alex"], first.sha256)
    assert found is not None and found.licences == ("lpips", "torchvision-imagenet")
    assert find_asset(store, KINDS["lpips-vgg"], first.sha256) is None


def spoilt(tensors: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    name = "features.3.weight"
    changed = {
        "missing": {k: v for k, v in tensors.items() if k != name},
        "shape": tensors | {name: torch.zeros(192, 64, 3, 3)},
        "not finite": tensors | {name: torch.full((192, 64, 5, 5), torch.nan)},
    }
    return changed[how]


@pytest.mark.parametrize("how, said", [("missing", "lacks 1 of 10 tensors, features.3.weight"),
                                       ("shape", "features.3.weight has the shape [192, 64, 3, 3], expected"),
                                       ("not finite", "features.3.weight")])  # fmt: skip
def test_wrong_tensors_are_named(tmp_path: Path, alex_files: tuple[Path, Path], how: str, said: str) -> None:
    path = tmp_path / "trunk.pth"
    torch.save(spoilt(torch.load(alex_files[0]), how), path)
    with pytest.raises(InputError) as raised:
        add_asset(Store(tmp_path / "store"), KINDS["lpips-alex"], [path, alex_files[1]])
    assert said in raised.value.message and not Store(tmp_path / "store").object_paths()


def test_linear_layers_of_the_other_trunk_are_refused(tmp_path: Path, alex_files: tuple[Path, Path]) -> None:
    linear_file(tmp_path / "vgg.pth", (64, 128, 256, 512, 512))
    with pytest.raises(InputError, match=r"lin1\.model\.1\.weight has the shape"):
        add_asset(Store(tmp_path / "store"), KINDS["lpips-alex"], [alex_files[0], tmp_path / "vgg.pth"])


def test_a_name_with_torchvisions_checksum_is_checked(tmp_path: Path, alex_files: tuple[Path, Path]) -> None:
    data = alex_files[0].read_bytes()
    (tmp_path / "alexnet-owt-7be5be79.pth").write_bytes(data)
    with pytest.raises(InputError, match="7be5be79"):
        add_asset(
            Store(tmp_path / "store"), KINDS["lpips-alex"], [tmp_path / "alexnet-owt-7be5be79.pth", alex_files[1]]
        )
    own = tmp_path / f"alexnet-{sha256_file(alex_files[0])[:8]}.pth"
    own.write_bytes(data)
    assert add_asset(Store(tmp_path / "store"), KINDS["lpips-alex"], [own, alex_files[1]]).is_new


def test_torchscript_is_refused_unless_its_checksum_is_given(tmp_path: Path, alex_files: tuple[Path, Path]) -> None:
    class Trunk(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = Lpips("alex").features

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.features(x)

    trunk = Trunk()
    trunk.load_state_dict({k: v for k, v in torch.load(alex_files[0]).items() if k.startswith("features")})
    path, store, kind = tmp_path / "alexnet.pt", Store(tmp_path / "store"), KINDS["lpips-alex"]
    torch.jit.trace(trunk, torch.zeros(1, 3, 64, 64)).save(str(path))
    for trust in ("", "0" * 64):
        with pytest.raises(TorchScriptError) as raised:
            add_asset(store, kind, [path, alex_files[1]], Options(trust))
        assert raised.value.sha256 == sha256_file(path) and f"--trust {sha256_file(path)}" in raised.value.help
    trusted = load_lpips(add_asset(store, kind, [path, alex_files[1]], Options(sha256_file(path))))
    plain = load_lpips(add_asset(store, kind, alex_files))
    images = pictures(40)
    assert torch.equal(trusted(images[:2], images[2:]), plain(images[:2], images[2:]))


def test_pictures_of_unlike_sizes_are_refused() -> None:
    with pytest.raises(ShapeError):
        Lpips("alex")(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 32, 32))
