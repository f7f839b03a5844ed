"""The official code in place of ours, with a stand-in for a checkout: the published interface around our networks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from headforge.errors import InputError, MissingExtraError
from headforge.priors.gan.cameras import frontal_label, gan_camera
from headforge.priors.gan.checkout import PACKAGES, OfficialGan, official_class
from headforge.priors.gan.model import GanViews, HeadGan
from headforge.priors.gan.renderer import draw_jitter
from headforge.types import Camera
from tests.priors.gan.nets import RENDER_SIZE, small_facts, small_gan

TRIPLANE = """
import torch
from torch_utils import persistence
from headforge.geometry.cameras import eg3d_to_camera
from headforge.priors.gan.model import HeadGan
from headforge.priors.gan.renderer import Jitter
from headforge.priors.gan.settings import read_settings
from headforge.types import Camera


class TriPlaneGenerator(HeadGan):
    def __init__(self, rendering_kwargs, **kwargs):
        facts = {"init_kwargs": kwargs, "rendering_kwargs": rendering_kwargs, "neural_rendering_resolution": 12}
        super().__init__(read_settings("panohead", facts))
        inner = self.backbone.synthesis
        forward = inner.forward
        inner.forward = lambda ws, noise_mode, force_fp32: forward(ws, noise_mode == "const", not force_fp32)

    def mapping(self, z, c, truncation_psi, truncation_cutoff):
        return self.styles(z, c, truncation_psi, truncation_cutoff)

    def synthesis(self, ws, c, neural_rendering_resolution, use_cached_backbone, noise_mode, force_fp32):
        n = neural_rendering_resolution
        rays = self.settings.rays
        coarse = torch.rand_like(torch.empty(1, n * n, rays.n_coarse, 1)).reshape(n * n, -1)
        fine = torch.rand(n * n, rays.n_fine, device=ws.device)
        planes = self._last_planes.reshape(1, 3, 32, 3, *self._last_planes.shape[2:])
        camera = Camera.stack([eg3d_to_camera(c[0], n, n)])
        found = self.render(planes, ws, camera, [Jitter(coarse, fine)], self.background(ws))
        return {"image": found.image, "image_raw": found.raw, "image_depth": found.ray_depth,
                "image_mask": found.mask}
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "training" / "triplane.py").write_text(TRIPLANE)
    (tmp_path / "torch_utils" / "persistence.py").touch()
    (tmp_path / "dnnlib" / "util.py").touch()
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
        del sys.modules[name]


def _view(model: HeadGan | OfficialGan) -> GanViews:
    z = torch.randn(1, 16, generator=torch.Generator().manual_seed(0))
    ws = model.styles(z, frontal_label(2.7, (0.0, 0.0, 0.0)), 0.7, 14)
    cameras = [gan_camera(yaw, 10.0, RENDER_SIZE, 2.7) for yaw in (-30.0, 80.0)]
    jitters = [draw_jitter(0, 0, view, RENDER_SIZE**2, model.settings.rays) for view in range(2)]
    return model.render(model.planes(ws), ws, Camera.stack(cameras), jitters, model.background(ws))


def test_the_checkout_draws_with_our_weights_and_random_numbers(checkout: Path) -> None:
    ours = small_gan("panohead")
    theirs = OfficialGan(checkout, ours.state_dict(), small_facts("panohead"))
    before = torch.rand, torch.rand_like
    mine, other = _view(ours), _view(theirs)
    assert (torch.rand, torch.rand_like) == before
    for name in ("image", "raw", "ray_depth", "z_depth", "mask"):
        assert torch.allclose(getattr(mine, name), getattr(other, name), atol=1e-4), name


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no training/triplane\.py"):
        official_class(tmp_path)


def test_a_package_that_the_checkout_imports_is_named(checkout: Path) -> None:
    (checkout / "training" / "triplane.py").write_text("import a_package_nobody_has\n")
    with pytest.raises(MissingExtraError, match="a_package_nobody_has"):
        official_class(checkout)
    assert str(checkout) not in sys.path


def test_one_checkout_per_process(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    official_class(checkout)
    other = tmp_path_factory.mktemp("other")
    for mark in ("training/triplane.py", "torch_utils/persistence.py", "dnnlib/util.py"):
        (other / mark).parent.mkdir()
        (other / mark).touch()
    with pytest.raises(InputError, match="has loaded 'torch_utils'"):
        official_class(other)
