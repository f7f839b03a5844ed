"""What gsplat is given, checked against its own signature; a stand-in draws, because gsplat itself needs a GPU."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from headforge.errors import MissingExtraError
from headforge.render import projection
from headforge.render.splatting import splat as splat_module
from headforge.render.splatting.splat import splat
from tests.render.scenes import draw, random_inputs


class StandIn:
    """gsplat's `rasterization` by its documented contract, drawn by the twin."""

    def __init__(self, signature: inspect.Signature | None) -> None:
        self.signature, self.calls = signature, 0

    def __call__(self, *args: Any, **options: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
        if self.signature is not None:
            self.signature.bind(*args, **options)
        means, quats, scales, opacities, colors, viewmats, Ks, width, height = args
        batch, n, m = means.shape[:-2], means.shape[-2], viewmats.shape[-3]
        assert quats.shape == (*batch, n, 4) and scales.shape == (*batch, n, 3) and opacities.shape == (*batch, n)
        assert colors.shape[:-1] == (*batch, m, n) and viewmats.shape == (*batch, m, 4, 4)
        assert options["packed"] and options["absgrad"] and options["far_plane"] > 1e9
        assert all(x.is_contiguous() for x in args[:7])
        backgrounds = options["backgrounds"]
        assert backgrounds is None or backgrounds.shape == (*batch, m, colors.shape[-1])
        self.calls += 1
        result = splat(
            means, quats, scales, opacities, colors, viewmats, Ks, width, height, backend="torch",
            backgrounds=backgrounds if colors.shape[-1] else None, render_mode=options["render_mode"],
            rasterize_mode=options["rasterize_mode"], eps2d=options["eps2d"], near_plane=options["near_plane"],
        )  # fmt: skip
        return result.image, result.alpha, {"means2d": torch.zeros(n, 2), "width": width}


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    try:
        import gsplat

        signature = inspect.signature(gsplat.rasterization)
    except ImportError:
        signature = None
    function, module = StandIn(signature), ModuleType("gsplat")
    module.rasterization = function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gsplat", module)
    choose = splat_module._choose
    monkeypatch.setattr(splat_module, "_choose", lambda scene, name: name if name == "gsplat" else choose(scene, name))
    return function


@pytest.mark.parametrize("render_mode", ["RGB", "D", "ED", "RGB+D", "RGB+ED"])
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_every_mode_arrives_as_the_twin_has_it(stand_in: StandIn, render_mode: str, rasterize_mode: str) -> None:
    inputs = random_inputs(3, n_channels=8, n_cameras=2)
    found = draw(inputs, "gsplat", render_mode=render_mode, rasterize_mode=rasterize_mode)
    twin = draw(inputs, "torch", render_mode=render_mode, rasterize_mode=rasterize_mode)
    assert stand_in.calls == 1
    assert torch.equal(found.image, twin.image) and torch.equal(found.alpha, twin.alpha)
    assert found.info["means2d"].shape == (60, 2) and found.info["width"] == 40


def test_batches_and_shared_tensors_are_expanded(stand_in: StandIn) -> None:
    a, b = random_inputs(1, n_cameras=2), random_inputs(2, n_cameras=2)
    means, viewmats, Ks = (torch.stack(pair) for pair in ((a.means, b.means), (a.viewmats, b.viewmats), (a.Ks, b.Ks)))
    scene = (means, None, a.scales[:, 0], a.opacities, a.colors, viewmats, Ks, 24, 20)
    found, twin = splat(*scene, backend="gsplat").image, splat(*scene, backend="torch").image
    assert found.shape == (2, 2, 20, 24, 3) and torch.equal(found, twin)


def test_no_gaussians_leave_the_background(stand_in: StandIn) -> None:
    i = random_inputs(1)
    empty = splat(i.means[:0], None, i.scales[:0], i.opacities[:0], i.colors[:0], i.viewmats, i.Ks, 5, 4,
                  backgrounds=i.backgrounds, render_mode="RGB+D", backend="gsplat")  # fmt: skip
    assert stand_in.calls == 0
    assert torch.equal(empty.image[0, 2, 3], torch.cat([i.backgrounds[0], torch.zeros(1)])) and empty.alpha.max() == 0


def test_a_missing_gsplat_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gsplat", None)
    monkeypatch.setattr(splat_module, "_choose", lambda scene, name: name)
    with pytest.raises(MissingExtraError, match="gsplat") as caught:
        draw(random_inputs(1), "gsplat")
    assert caught.value.extra == "gpu"


def gsplat_file(path: str) -> str:
    """Text of a file of the installed gsplat, which need not be importable; skips without one."""
    spec = importlib.util.find_spec("gsplat")
    if spec is None or spec.origin is None:
        pytest.skip("gsplat is not installed")
    return (Path(spec.origin).parent / path).read_text()


def test_constants_are_those_of_the_installed_gsplat() -> None:
    raster = gsplat_file("cuda/csrc/RasterizeToPixels3DGSFwd.cu")
    assert re.findall(r"min\(([\d.]+)f, opac", raster) == [str(projection.ALPHA_CAP)]
    assert [float(x) for x in re.findall(r"next_T <= ([\de.-]+)f", raster)] == [projection.TRANSMITTANCE_STOP]
    (one, levels) = re.findall(r"ALPHA_THRESHOLD \(([\d.]+)f / ([\d.]+)f\)", gsplat_file("cuda/include/Common.h"))[0]
    assert float(one) / float(levels) == projection.ALPHA_MIN
    fused = gsplat_file("cuda/csrc/ProjectionEWA3DGSFused.cu")
    assert set(re.findall(r"extend = ([\d.]+)f", fused)) == {str(projection.EXTENT_SIGMAS)}
    found = re.findall(r"(eps2d|near_plane|far_plane): float = ([\de.]+)", gsplat_file("rendering.py"))
    # The file's first function is `rasterization`; later ones have defaults of their own.
    defaults = dict(reversed(found))
    assert float(defaults["eps2d"]) == projection.EPS2D_PX2
    assert float(defaults["near_plane"]) == projection.NEAR_PLANE_M
    assert float(defaults["far_plane"]) == projection.FAR_PLANE_M
