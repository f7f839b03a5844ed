"""Imported head models are rendered and fitted like the builtin one."""

from __future__ import annotations

import pytest
import torch

from headforge.flame.model import HeadModel, pose_head
from headforge.geometry.cameras import orbit_camera
from headforge.geometry.meshes import similarity_alignment
from headforge.render.mesh import rasterize
from headforge.track.solver.basis import landmark_basis
from headforge.track.solver.problem import FitSettings, Problem
from headforge.track.solver.solver import fit_subject
from tests.flame.foreign import flame_like_head, ict_like_head
from tests.track.scenes import make_scene

HEADS = {"ict": ict_like_head, "flame": flame_like_head}
SIZE = 256


@pytest.fixture(scope="module", params=HEADS)
def head(request: pytest.FixtureRequest) -> HeadModel:
    return HEADS[request.param]()


def test_landmarks_of_many_views_give_the_head_back(head: HeadModel) -> None:
    scene = make_scene(head, n_views=14, noise_px=0.3, outliers=0.05, seed=5)
    settings = FitSettings(sigma_px=0.3, focal_px=2.0 * SIZE, shape_sigma=2.0, expr_sigma=2.0)
    fit = fit_subject(Problem(landmark_basis(head), scene.points - SIZE / 2, scene.weights, settings))
    assert fit.residuals[~scene.outliers].square().mean().sqrt() < 0.4
    fitted = head.neutral((1,)).replace(
        shape=fit.state.shape[None].float(), expr=fit.state.expr[:1].float(), jaw=fit.state.jaw[:1].float()
    )
    still = scene.params[:1].replace(rotation=torch.zeros(1, 3), translation=torch.zeros(1, 3))
    found, exact = (pose_head(head, p)[0][head.regions["face"]].double() for p in (fitted, still))
    scale, rotation, translation = similarity_alignment(found, exact)
    error = (scale * found @ rotation.T + translation - exact).norm(dim=-1).mean()
    assert error < 0.0006, "metres on the face"
    assert abs(fit.state.log_focal.exp() / scene.camera.K[0, 0, 0] - 1) < 0.05


def test_picture_shows_the_parts_where_they_are(head: HeadModel) -> None:
    camera = orbit_camera(torch.zeros(1), 0.0, distance_m=1.2, focal_px=2.5 * 128, width=128, height=128)
    open_wide = head.neutral((1,)).replace(jaw=torch.tensor([[0.35, 0.0, 0.0]]))
    seen = []
    for params in (head.neutral((1,)), open_wide):
        ids = rasterize(pose_head(head, params), head.faces, camera).face_ids[0]
        seen.append(
            {name: int(torch.isin(ids, head.faces_of(name)).sum()) for name in ("teeth", "left_eyeball", "face")}
        )
        rows, columns = torch.isin(ids, head.faces_of("left_eyeball")).nonzero().float().mean(0)
        assert columns > 66 and rows < 64, "the subject's left eye is on the picture's right, above the middle"
    shut, wide = seen
    assert wide["teeth"] > shut["teeth"] + 10
    assert shut["face"] > 1000 and shut["left_eyeball"] > 5
