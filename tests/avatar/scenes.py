"""Small scenes with a known avatar, for the tests of fitting."""

from __future__ import annotations

import torch

from headforge.avatar.render import render_avatar
from headforge.avatar.rig import RiggedGaussians, posed_vertices, rgb_to_dc
from headforge.avatar.surface import skin_gaussians
from headforge.avatar.views import View, make_view
from headforge.flame.model import HeadModel
from headforge.geometry.cameras import orbit_camera
from headforge.types import Camera, HeadParams


def random_gaussians(head: HeadModel, n: int = 40, sh_degree: int = 0, seed: int = 0) -> RiggedGaussians:
    """Gaussians with every field drawn at random."""
    g = torch.Generator().manual_seed(seed)
    return RiggedGaussians(
        model_id=head.model_id,
        binding=torch.randint(len(head.faces), (n,), generator=g),
        means=torch.randn(n, 3, generator=g),
        log_scales=torch.randn(n, 3, generator=g) * 0.5 - 1,
        quats=torch.randn(n, 4, generator=g),
        opacity_logits=torch.randn(n, generator=g),
        sh=torch.randn(n, (sh_degree + 1) ** 2, 3, generator=g) * 0.3,
        is_free=torch.rand(n, generator=g) > 0.5,
    )


def moving_params(head: HeadModel, n: int, seed: int = 0) -> HeadParams:
    """[n] parameters of one subject with random expressions and jaws."""
    g = torch.Generator().manual_seed(seed)
    params = HeadParams.neutral(head.model_id, head.n_shape, head.n_expr, (n,))
    jaw = torch.cat([0.2 * torch.rand(n, 1, generator=g), torch.zeros(n, 2)], dim=1)
    return params.replace(expr=torch.randn(n, head.n_expr, generator=g), jaw=jaw)


def orbiting_cameras(n: int, size: int, seed: int = 0) -> Camera:
    """[n] cameras around the head; it fills about two thirds of the height."""
    g = torch.Generator().manual_seed(seed)
    yaw, pitch = torch.rand(n, generator=g) * 120 - 60, torch.rand(n, generator=g) * 40 - 20
    return orbit_camera(yaw, pitch, distance_m=1.0, focal_px=size / 0.38, width=size, height=size)


def painted_head(head: HeadModel, n_gaussians: int) -> RiggedGaussians:
    """A head with a colour pattern that the eye can follow."""
    truth = skin_gaussians(head, posed_vertices(head, head.neutral()), n_gaussians, 0)
    points = truth.on_mesh(head.v_template, head.faces).means
    return truth.replace(sh=rgb_to_dc(0.5 + 0.4 * torch.sin(points * torch.tensor([60.0, 80.0, 70.0])))[:, None])


def pictures(truth: RiggedGaussians, head: HeadModel, params: HeadParams, cameras: Camera) -> list[View]:
    """Views of the true avatar with their masks."""
    black = truth.replace(sh=rgb_to_dc(torch.zeros_like(truth.sh)))
    views = []
    for i in range(len(params.expr)):
        image = render_avatar(truth, head, params[i], cameras[i])
        mask = 1 - render_avatar(black, head, params[i], cameras[i])[..., 0]
        views.append(make_view(head, image, mask, cameras[i], params[i]))
    return views


def psnr_db(rigged: RiggedGaussians, head: HeadModel, params: HeadParams, views: list[View]) -> float:
    """Mean over the views."""
    errors = [
        (render_avatar(rigged, head, params[i], view.camera) - view.image).square().mean()
        for i, view in enumerate(views)
    ]
    return float(torch.stack([-10 * e.log10() for e in errors]).mean())
