"""Rigged Gaussians, losses and fitting compute where head and views are; jobs move what they read."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from headforge.avatar import fit, hull, losses, optimise, output, render, rig, surface, views
from headforge.avatar.config import FitConfig
from headforge.avatar.hull import HeadSpace
from headforge.avatar.losses import Target
from headforge.avatar.optimise import Parameters, WeightedView
from headforge.avatar.output import Avatar
from headforge.avatar.portrait import colors, hair, portrait
from headforge.avatar.portrait.colors import PhotoColors
from headforge.avatar.portrait.portrait import Portrait
from headforge.avatar.rig import Frames, RiggedGaussians
from headforge.avatar.views import View
from headforge.errors import ConfigError
from headforge.flame.model import HeadModel
from headforge.types import GaussianCloud
from tests.avatar.portrait.test_portrait import CONFIG as PORTRAIT
from tests.avatar.portrait.test_portrait import photo_view, wig
from tests.avatar.scenes import moving_params, orbiting_cameras, painted_head, pictures, random_gaussians
from tests.avatar.test_fit import SMALL, tiny_dataset
from tests.devices import META, Call, check_complete, check_on_cpu, check_on_meta, moved, parametrized, tensors_in
from tests.heads import tiny_head

FILES = "reads or writes files"
ARRAYS = "gives arrays"
CHOICE = "which points are kept depends on the values"
DRAWN = "draws a mesh"
SIZE = 24
TINY = dataclasses.replace(SMALL, n_iterations=2, n_skin=200, n_hair=50)
HEAD = dataclasses.replace(
    tiny_head(), regions={**tiny_head().regions, "neck": torch.arange(40), "nose": torch.arange(200, 230)}
)


def rows(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def gaussians(degree: int = 1) -> RiggedGaussians:
    return random_gaussians(HEAD, 40, degree)


def frames() -> Frames:
    return rig.bound_frames(HEAD.v_template, HEAD.faces, gaussians().binding)


def eye() -> Tensor:
    return orbiting_cameras(1, SIZE)[0].centre


def cloud() -> GaussianCloud:
    return gaussians().posed(HEAD, HEAD.neutral(), eye())


@cache
def seen() -> tuple[View, ...]:
    return tuple(pictures(painted_head(HEAD, 800), HEAD, moving_params(HEAD, 3), orbiting_cameras(3, SIZE)))


@cache
def photo() -> View:
    return photo_view(wig())


def space() -> HeadSpace:
    return hull.head_space(HEAD, HEAD.v_template)


def target() -> Target:
    return Target.of(rows(SIZE, SIZE, 3))


def found_colors() -> PhotoColors:
    return PhotoColors(rows(40, 3), rows(40))


def front() -> Tensor:
    return torch.arange(40) % 2 == 0


def shown() -> tuple[RiggedGaussians, HeadModel, View, Tensor]:
    return gaussians(), HEAD, photo(), front()


def avatar() -> Avatar:
    return Avatar(gaussians(), HEAD.neutral(), HEAD.neutral((2,)))


def weighted() -> list[WeightedView]:
    return [WeightedView(view, 0.5, torch.ones_like(view.mask)) for view in seen()]


def mask() -> Tensor:
    return wig() > 0.5


CALLS = [
    Call(RiggedGaussians.posed, lambda: (gaussians(), HEAD, HEAD.neutral(), eye())),
    Call(RiggedGaussians.on_mesh, lambda: (gaussians(0), HEAD.v_template, HEAD.faces)),
    Call(RiggedGaussians.in_frames, lambda: (gaussians(2), frames(), eye())),
    Call(rig.posed_vertices, lambda: (HEAD, HEAD.neutral())),
    Call(rig.bound_frames, lambda: (HEAD.v_template, HEAD.faces, gaussians().binding)),
    Call(rig.to_local, lambda: (rows(40, 3), frames())),
    Call(rig.rgb_to_dc, lambda: (rows(4, 3),)),
    Call(rig.concatenate, lambda: ([gaussians(), gaussians()],)),
    Call(surface.face_density, lambda: (HEAD,)),
    Call(surface.sample_surface, lambda: (HEAD, HEAD.v_template, 50)),
    Call(surface.skin_gaussians, lambda: (HEAD, HEAD.v_template, 50, 1)),
    Call(View.foreground, lambda: (photo(),)),
    Call(View.over, lambda: (photo(), 0.0)),
    Call(views.make_view, lambda: (HEAD, photo().image, photo().mask, photo().camera, HEAD.neutral())),
    Call(views.render_cloud, lambda: (cloud(), seen()[0].camera)),
    Call(views.blended_colors, lambda: (cloud(), seen()[0])),
    Call(views.look_at_views, lambda: (gaussians(), HEAD, seen()), reason="fills what was not seen"),
    Call(views.with_colors, lambda: (gaussians(), rows(40, 3))),
    Call(views.fill_unseen, lambda: (rows(40, 3), rows(40, 3), front(), ~front()), reason=CHOICE),
    Call(losses.blur, lambda: (rows(3, SIZE, SIZE),)),
    Call(Target.of, lambda: (rows(SIZE, SIZE, 3),)),
    Call(losses.ssim, lambda: (rows(SIZE, SIZE, 3), target())),
    Call(losses.photometric, lambda: (rows(SIZE, SIZE, 3), target(), 0.2, rows(SIZE, SIZE))),
    Call(losses.allowed_scale, lambda: (gaussians(),)),
    Call(losses.position_loss, lambda: (gaussians(),)),
    Call(losses.scale_loss, lambda: (gaussians(), losses.allowed_scale(gaussians()))),
    Call(losses.hair_loss, lambda: (gaussians(),)),
    Call(Parameters.of, lambda: (gaussians(),)),
    Call(Parameters.rigged, lambda: (Parameters.of(gaussians()), gaussians(), rows(40))),
    Call(optimise.optimise, lambda: (TINY, HEAD, gaussians(), weighted(), 2), {"trust": rows(40)},
         reason="torch's fused Adam takes no tensors of `meta`"),
    Call(render.render_avatar, lambda: (gaussians(), HEAD, HEAD.neutral(), seen()[0].camera)),
    Call(render.to_uint8, lambda: (rows(SIZE, SIZE, 3),)),
    Call(hull.head_space, lambda: (HEAD, HEAD.v_template), reason="asks whether any triangle is an anchor"),
    Call(hull.carve, lambda: (0.2 * rows(60, 3) - 0.1, seen(), space(), HEAD), reason=CHOICE),
    Call(hull.grid_around, lambda: (HEAD.v_template, 0.02, 0.02), reason="its size depends on the values"),
    Call(hull.outer_layers, lambda: (rows(6, 6, 6) > 0.2, 1)),
    Call(hull.nearest_triangles, lambda: (rows(9, 3), rows(7, 3))),
    Call(hull.hair_points, lambda: (HEAD, space(), seen(), 0.03), reason=CHOICE),
    Call(hull.hair_gaussians, lambda: (HEAD, HEAD.v_template, seen(), 20, 0.03, 1, 0), reason=CHOICE),
    Call(hull.free_gaussians, lambda: (HEAD, HEAD.v_template, rows(5, 3), torch.arange(5), 0.01, 1)),
    Call(hull.free_gaussians, lambda: (HEAD, HEAD.v_template, rows(5, 3), torch.arange(5), rows(5), 0)),
    Call(output.frontal_params, lambda: (HEAD.neutral(),)),
    Call(output.moving_params, lambda: (HEAD, HEAD.neutral(), 0.6)),
    Call(output.show_camera, lambda: (SIZE,), reason="from numbers, on the CPU"),
    Call(output.render_frontal, lambda: (HEAD, avatar(), SIZE), reason=ARRAYS),
    Call(output.render_turntable, lambda: (HEAD, avatar(), 8, 40.0), reason=ARRAYS),
    Call(fit.mean_identity, lambda: ([HEAD.neutral(), HEAD.neutral()],)),
    Call(fit.initial_gaussians, lambda: (TINY, HEAD, seen(), HEAD.neutral(), "a"), reason=CHOICE),
    Call(fit.fit_views, lambda: (TINY, HEAD, seen(), HEAD.neutral(), "a"), reason=CHOICE),
    Call(colors.sample_image, lambda: (rows(8, 9, 3), 8 * rows(5, 2))),
    Call(colors.photo_colors, shown, reason=DRAWN),
    Call(colors.nearest, lambda: (rows(9, 3), rows(7, 3))),
    Call(colors.mirrored, lambda: (found_colors(), rows(40, 3) - 0.5, front()), reason=CHOICE),
    Call(colors.matched, lambda: (views.look_at_views(gaussians(), HEAD, seen()), found_colors(), front()),
         reason=CHOICE),
    Call(colors.portrait_colors, lambda: (gaussians(), HEAD, photo(), seen(), front(), 0.5), reason=DRAWN),
    Call(colors.in_region, lambda: (gaussians(), HEAD, "face", "nowhere")),
    Call(colors.is_bare, lambda: (gaussians(), HEAD)),
    Call(colors.inner_parts, lambda: (HEAD, gaussians().binding)),
    Call(colors.fold_hair, lambda: (rows(40, 3), 90 * rows(40, 2), 1 + rows(40), front(), ~front(), photo()),
         reason=CHOICE),
    Call(colors.fill_inner, lambda: (rows(40, 3), found_colors(), torch.arange(40) % 4 - 1)),
    Call(hair.find_hair, lambda: (HEAD, photo()), reason=CHOICE),
    Call(hair.half_depth, lambda: (mask(), 0.002), reason=CHOICE),
    Call(hair.outline_distance, lambda: (mask(),), reason=CHOICE),
    Call(hair.area_average, lambda: (photo().image, 24)),
    Call(hair.unproject, lambda: (photo().camera, rows(5), rows(5), rows(5))),
    Call(hair.vertex_labels, lambda: (HEAD,)),
    Call(hair.skin_like, lambda: (photo(), HEAD), reason=DRAWN),
    Call(hair.eye_row, lambda: (photo(), HEAD), reason="gives a number"),
    Call(hair.is_hair, lambda: (HEAD, photo(), 0.3 * rows(40, 3)), reason=DRAWN),
    Call(hair.opened, lambda: (mask(),)),
    Call(hair.height_above, lambda: (HEAD.v_template, HEAD.faces, rows(9, 3))),
    Call(portrait.portrait_gaussians, lambda: (PORTRAIT, HEAD, photo(), list(seen())), reason=DRAWN),
    Call(portrait.below_neck_cut, lambda: (HEAD, gaussians(), photo()), reason=CHOICE),
]  # fmt: skip
OTHERS = {
    "avatar.rig.save_rigged": FILES,
    "avatar.rig.load_rigged": FILES,
    "avatar.optimise.view_order": "makes arrays",
    "avatar.output.write_avatar": FILES,
    "avatar.fit.fit_subject": "test_fitting_does_not_depend_on_the_default_device",
    "avatar.fit.is_heldout": "numbers only",
    "avatar.fit.exact_poses": "sorts samples, which are on the CPU",
    "avatar.fit.tracked_poses": "sorts tracks, which are on the CPU",
    "avatar.fit.sample_view": "test_fitting_does_not_depend_on_the_default_device",
    "avatar.fit.predict": "test_fitting_does_not_depend_on_the_default_device",
    "avatar.portrait.hair.some_of": "random numbers: on the CPU",
    "avatar.portrait.portrait.read_portrait": FILES,
    "avatar.portrait.portrait.fit_portrait": "test_jobs_refuse_a_card_that_is_not_there",
}
MODULES = (rig, surface, views, losses, optimise, render, hull, output, fit, colors, hair, portrait)
METHODS = ("RiggedGaussians", "View", "Target", "Parameters")
"""Classes that are no networks, whose methods are called beyond what is asked for."""
runs_on_meta, all_calls = parametrized(CALLS)


@runs_on_meta
def test_on_meta(call: Call) -> None:
    check_on_meta(call)


@all_calls
def test_on_the_cpu_whatever_the_default_device_is(call: Call) -> None:
    check_on_cpu(call)


def test_no_entry_point_is_left_out() -> None:
    calls = [c for c in CALLS if not any(f".{name}." in c.name for name in METHODS)]
    check_complete(calls, OTHERS, MODULES)


def test_avatars_portraits_and_their_gradients_move() -> None:
    there = gaussians().to("meta")
    assert all(tensor.is_meta for tensor in tensors_in(there))
    head, view = moved(HEAD, META), moved(seen()[0], META)
    changes = Parameters.of(there)
    image = views.render_cloud(changes.rigged(there, None).posed(head, head.neutral(), view.camera.centre), view.camera)
    losses.photometric(image, Target.of(view.image), 0.2).backward()
    assert all(getattr(changes, f.name).grad.is_meta for f in dataclasses.fields(changes))
    shot = Portrait("a", photo().image, photo().mask, photo().camera, HEAD.neutral()).to("meta")
    assert all(tensor.is_meta for tensor in tensors_in(shot))


def test_fitting_does_not_depend_on_the_default_device(tmp_path: Path) -> None:
    tiny_dataset(tmp_path / "data")
    for default in ("cpu", "meta"):
        with torch.device(default):
            fit.fit_subject(TINY, tmp_path / "data", None, "000000", tmp_path / default, device="cpu")
    for name in ("avatar.safetensors", "posed.ply", "posed.spz", "frontal.png", "predictions.parquet"):
        assert (tmp_path / "cpu" / name).read_bytes() == (tmp_path / "meta" / name).read_bytes(), name


def test_jobs_refuse_a_card_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    nowhere = tmp_path / "nowhere"
    with pytest.raises(ConfigError, match="torch sees no CUDA card here"):
        fit.fit_subject(FitConfig(), nowhere, None, "a", nowhere, device="cuda")
    with pytest.raises(ConfigError, match="torch sees no CUDA card here"):
        fit.fit_portrait(FitConfig(), nowhere, nowhere, HEAD, nowhere, device="cuda:0")
    assert not nowhere.exists()
