from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from headforge.errors import ConfigError, ShapeError
from headforge.flame.model import HeadModel, landmarks, pose_head
from headforge.geometry.cameras import orbit_camera, project
from headforge.geometry.meshes import vertex_normals
from headforge.render.mesh import interpolate, rasterize
from headforge.render.shading import sample_texture, sh_irradiance
from headforge.store.dataset.shards import write_shard
from headforge.store.dataset.tables import read_tracks
from headforge.track.config import TrackConfig
from headforge.track.photometric.photometric import AMBIENT, PhotometricSettings, Pictures, drawn_faces, refine_subject
from headforge.track.photometric.tracks import SubjectPictures, refine_tracks
from headforge.track.quality import vertex_error_mm
from headforge.track.track import track_shard
from headforge.track.views.views import ViewLandmarks
from headforge.types import Camera, HeadParams, Sample, Track
from tests.heads import tiny_head

SIZE, N_VIEWS = 96, 4
FAST = PhotometricSettings(
    n_texture_steps=15, n_joint_steps=40, render_size=SIZE, texture_size=48, lr_geometry_scale=2.0
)


@dataclasses.dataclass
class Studio:
    """Pictures of a textured head under a light, with ground truth."""

    head: HeadModel
    params: HeadParams
    camera: Camera
    pictures: Pictures

    def wrong(self) -> tuple[HeadParams, Camera]:
        """A landmarks' fit that is off in shape, expression and pose."""
        generator = torch.Generator().manual_seed(11)
        shape = self.params.shape + 0.25 * torch.randn(self.head.n_shape, generator=generator)
        expr = self.params.expr + 0.15 * torch.randn(self.params.expr.shape, generator=generator)
        viewmat = self.camera.viewmat.clone()
        viewmat[:, :3, 3] += 0.001 * torch.randn(N_VIEWS, 3, generator=generator)
        return self.params.replace(shape=shape, expr=expr), dataclasses.replace(self.camera, viewmat=viewmat)


@pytest.fixture(scope="module")
def studio() -> Studio:
    head = tiny_head(31, 40)
    generator = torch.Generator().manual_seed(2)
    camera = orbit_camera(torch.linspace(-35, 35, N_VIEWS), torch.tensor([0.0, 12.0, -8.0, 5.0]), distance_m=1.0,
                          focal_px=3.2 * SIZE, width=SIZE, height=SIZE)  # fmt: skip
    params = head.neutral((N_VIEWS,)).replace(
        shape=torch.randn(head.n_shape, generator=generator).expand(N_VIEWS, -1),
        expr=0.5 * torch.randn(N_VIEWS, head.n_expr, generator=generator),
    )
    texture = torch.nn.functional.interpolate(
        0.3 + 0.5 * torch.rand(1, 3, 20, 20, generator=generator), size=(160, 160), mode="bicubic"
    )[0].permute(1, 2, 0)
    light = torch.zeros(9, 3)
    light[0], light[2], light[3] = AMBIENT * 0.8, 0.8, -0.5
    vertices = pose_head(head, params)
    fragments = rasterize(vertices, head.faces, camera)
    uv = interpolate(fragments, head.uvs[head.uv_faces])
    normals = interpolate(fragments, vertex_normals(vertices, head.faces)[:, head.faces])
    colours = sample_texture(texture, uv) * sh_irradiance(torch.nn.functional.normalize(normals, dim=-1), light)
    images = torch.where(fragments.mask[..., None], colours, torch.ones(3)).clamp(0, 1)
    points = project(camera, landmarks(head, vertices))[0].double()
    noisy = points + 0.6 * torch.randn(points.shape, generator=generator, dtype=torch.float64)
    pictures = Pictures((255 * images + 0.5).byte().numpy(), 255 * fragments.mask.byte().numpy(), noisy,
                        torch.ones(N_VIEWS, 68, dtype=torch.float64))  # fmt: skip
    return Studio(head, params, camera, pictures)


def error_mm(studio: Studio, params: HeadParams) -> float:
    return vertex_error_mm(studio.head, [params[i] for i in range(N_VIEWS)], studio.params, range(N_VIEWS))


def test_pictures_bring_the_head_nearer_to_the_truth(studio: Studio) -> None:
    params, camera = studio.wrong()
    found = refine_subject(studio.head, params, camera, studio.pictures, FAST)
    assert found.photo_after < 0.7 * found.photo_before
    blind = refine_subject(studio.head, params, camera, studio.pictures, dataclasses.replace(FAST, photo=0.0))
    assert error_mm(studio, found.params) < 0.75 * error_mm(studio, params)
    assert error_mm(studio, found.params) < 0.9 * error_mm(studio, blind.params), "landmarks alone do it too"
    assert not found.params.shape.requires_grad and found.camera.width == SIZE
    assert (found.params.shape == found.params.shape[:1]).all()
    assert found.camera.K[0, 0, 0] == found.camera.K[3, 1, 1]


def test_without_joint_steps_only_the_surface_is_found(studio: Studio) -> None:
    settings = dataclasses.replace(FAST, n_joint_steps=0)
    found = refine_subject(studio.head, studio.params, studio.camera, studio.pictures, settings)
    assert found.photo_after == found.photo_before < 0.05
    torch.testing.assert_close(pose_head(studio.head, found.params), pose_head(studio.head, studio.params))
    torch.testing.assert_close(found.camera.viewmat, studio.camera.viewmat)


def test_the_same_inputs_give_the_same_values_and_known_cameras_stay(studio: Studio) -> None:
    params, camera = studio.wrong()
    settings = dataclasses.replace(FAST, n_texture_steps=3, n_joint_steps=3, is_camera_known=True)
    a, b = (refine_subject(studio.head, params, camera, studio.pictures, settings) for _ in range(2))
    assert torch.equal(a.params.expr, b.params.expr) and torch.equal(a.texture, b.texture)
    assert not torch.equal(a.params.expr, params.expr)
    torch.testing.assert_close(a.camera.viewmat, camera.viewmat)
    torch.testing.assert_close(a.camera.K, camera.K)


def test_views_of_one_moment_keep_one_expression(studio: Studio) -> None:
    params = studio.params.replace(expr=studio.params.expr[:1].expand(N_VIEWS, -1))
    settings = dataclasses.replace(FAST, n_texture_steps=1, n_joint_steps=2)
    found = refine_subject(studio.head, params, studio.camera, studio.pictures, settings)
    assert (found.params.expr == found.params.expr[0]).all() and not torch.equal(found.params.expr, params.expr)


def test_the_silhouette_pulls_the_mesh_into_the_foreground(studio: Studio) -> None:
    """Nothing else is asked for: a head that is too large shrinks into the mask."""
    camera = dataclasses.replace(studio.camera, K=studio.camera.K * torch.tensor([1.15, 1.15, 1.0])[:, None])
    camera.K[:, :2, 2] = SIZE / 2
    silent = {"photo": 0.0, "landmark": 0.0, "shape_prior": 0.0, "expr_prior": 0.0, "jaw_prior": 0.0}
    settings = dataclasses.replace(FAST, n_texture_steps=0, n_joint_steps=30, lr_base=5e-2, **silent)
    found = refine_subject(studio.head, studio.params, camera, studio.pictures, settings)
    assert float(found.camera.K[0, 0, 0]) < 0.96 * float(camera.K[0, 0, 0])


def test_triangles_under_the_hair_are_not_compared(studio: Studio) -> None:
    drawn = drawn_faces(studio.head)
    assert 0 < int(drawn.sum()) < len(drawn)
    assert not drawn[studio.head.faces_of("scalp")].any()


def test_counts_that_differ_are_refused(studio: Studio) -> None:
    with pytest.raises(ShapeError):
        refine_subject(studio.head, studio.params[:2], studio.camera[:2], studio.pictures, FAST)


def as_tracks(studio: Studio, params: HeadParams, camera: Camera, residual_px: float) -> list[Track]:
    return [
        Track("a", v, "rejected" if v == 2 else "ok", "", camera[v], params[v], residual_px, 68) for v in range(N_VIEWS)
    ]


def test_tracks_are_refined_where_they_are_accepted(studio: Studio) -> None:
    params, camera = studio.wrong()
    tracks = as_tracks(studio, params, camera, 1.0)
    seen = ViewLandmarks("a", range(N_VIEWS), studio.pictures.landmarks, studio.pictures.weights, SIZE, SIZE)
    pictures = SubjectPictures(list(studio.pictures.images), list(studio.pictures.masks))
    settings = dataclasses.replace(FAST, n_texture_steps=5, n_joint_steps=20)
    refined = refine_tracks(studio.head, tracks, seen, pictures, settings, max_residual_px=2.0)
    assert refined[2] is tracks[2]
    assert all(0.3 < refined[v].residual_px < 1.0 for v in (0, 1, 3))
    assert not torch.equal(refined[0].params.shape, tracks[0].params.shape)
    assert refine_tracks(studio.head, tracks, seen, pictures, settings, max_residual_px=0.01) == tracks
    assert refine_tracks(studio.head, tracks[2:3], seen, pictures, settings, 2.0) == tracks[2:3]


def test_the_stage_refines_if_it_is_asked_to(studio: Studio, tmp_path: Path) -> None:
    rows = [
        Sample("000000", v, "train", "synthetic", 0, np.ascontiguousarray(studio.pictures.images[v]),
               np.ascontiguousarray(studio.pictures.masks[v]), studio.camera[v], studio.params[v], 0, 0)
        for v in range(N_VIEWS)
    ]  # fmt: skip
    write_shard(tmp_path / "in.parquet", [rows])
    found: dict[bool, dict] = {}
    for wanted in (False, True):
        config = TrackConfig(
            landmark_noise=0.01, min_landmarks=12, photometric=wanted, photometric_texture_steps=3,
            photometric_joint_steps=3, photometric_size=48,
        )  # fmt: skip
        track_shard(config, tmp_path / "in.parquet", studio.head, tmp_path / str(wanted))
        found[wanted] = read_tracks(tmp_path / str(wanted) / "part.parquet")
    before, after = (found[wanted]["000000", 1] for wanted in (False, True))
    assert (before.status, after.status, before.n_landmarks) == ("ok", "ok", after.n_landmarks)
    assert not torch.equal(before.params.expr, after.params.expr)
    difference: Tensor = (before.params.expr - after.params.expr).abs().max()
    assert float(difference) < 0.1


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="photometric_size"):
        TrackConfig(photometric_size=8)
    with pytest.raises(ConfigError, match="photometric_joint_steps"):
        TrackConfig(photometric_joint_steps=-1)
