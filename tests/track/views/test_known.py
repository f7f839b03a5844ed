"""A generator's cameras: FLAME and one placement from the views with a face, the others labelled by projection."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from headforge.flame.builtin.head import builtin_head
from headforge.flame.model import landmarks, pose_head
from headforge.geometry.cameras import orbit_camera, project
from headforge.geometry.meshes import interpolate_on_faces
from headforge.geometry.rotations import axis_angle_to_matrix
from headforge.track.solver.jaw_line import contour_embedding
from headforge.track.solver.state import FitSettings
from headforge.track.views.known import KnownFit, KnownGates, fit_known_views, ray_points
from headforge.track.views.views import ViewLandmarks
from headforge.types import Camera, HeadParams
from tests.heads import tiny_head

SIZE = 256
GATES = KnownGates(min_landmarks=20, min_face_views=3, max_residual_px=6.0)


@dataclass(frozen=True)
class Generated:
    """Views of a head in a generator's world."""

    camera: Camera
    """[V] in the generator's world."""
    exact: Camera
    """[V] the same as seen from the head."""
    params: HeadParams
    points: Tensor
    weights: Tensor


def generated(yaws: list[float], *, outline: bool = False, unit_m: float = 0.13, noise_px: float = 0.5) -> Generated:
    """A head turned, moved and scaled in the world; faces beyond 60 degrees of yaw are not found."""
    head = builtin_head() if outline else tiny_head()
    generator = torch.Generator().manual_seed(5)
    n = len(yaws)
    pitch = 20 * torch.rand(n, generator=generator) - 10
    exact = orbit_camera(torch.tensor(yaws), pitch, distance_m=0.9, focal_px=2.4 * SIZE, width=SIZE, height=SIZE)
    params = head.neutral((1,)).replace(
        shape=0.8 * torch.randn(1, head.n_shape, generator=generator),
        expr=0.3 * torch.randn(1, head.n_expr, generator=generator),
    )
    vertices = pose_head(head, params)
    points = []
    for view, yaw in enumerate(yaws):
        places = landmarks(head, vertices)
        if outline:
            places = interpolate_on_faces(vertices, head.faces, *contour_embedding(head, yaw))
        points.append(project(exact[view], places[0])[0])
    noise = noise_px * torch.randn(n, 68, 2, generator=generator, dtype=torch.float64)
    weights = (torch.tensor(yaws).abs() < 60).double()[:, None].expand(n, 68).clone()
    turn = axis_angle_to_matrix(torch.tensor([0.1, 0.4, -0.05]))
    to_head = torch.eye(4)
    to_head[:3, :3], to_head[:3, 3] = turn.T, -turn.T @ torch.tensor([0.02, -0.01, 0.03])
    viewmat = exact.viewmat @ to_head
    viewmat[:, :3, 3] /= unit_m
    camera = Camera(exact.K, viewmat, SIZE, SIZE)
    return Generated(camera, exact, params, torch.stack(points).double() + noise, weights)


def fit(case: Generated, *, outline: bool = False, one_moment: bool = True, gates: KnownGates = GATES) -> KnownFit:
    head = builtin_head() if outline else tiny_head()
    seen = ViewLandmarks("someone", range(len(case.points)), case.points, case.weights, SIZE, SIZE)
    settings = FitSettings(sigma_px=0.5, focal_px=1.0, one_moment=one_moment, n_annealing=14 if outline else 4)
    return fit_known_views(head, seen, case.camera, settings, gates, follow_outline=outline)


def picture_error_px(case: Generated, found: KnownFit, *, outline: bool = False) -> Tensor:
    """[V] mean distance of the tracked head's landmarks from the exact ones in each picture."""
    head = builtin_head() if outline else tiny_head()
    exact = landmarks(head, pose_head(head, case.params))
    errors = []
    for view, track in enumerate(found.tracks):
        ours = landmarks(head, pose_head(head, HeadParams.stack([track.params])))
        difference = project(track.camera, ours[0])[0] - project(case.exact[view], exact[0])[0]
        errors.append(difference.norm(dim=-1).mean())
    return torch.stack(errors)


@pytest.mark.parametrize("outline", [False, True])
def test_faceless_views_are_labelled_by_projection(outline: bool) -> None:
    yaws = [-50.0, -30.0, -10.0, 10.0, 30.0, 50.0, 100.0, 180.0, -120.0]
    case = generated(yaws, outline=outline)
    found = fit(case, outline=outline)
    assert [track.status for track in found.tracks] == ["ok"] * len(yaws)
    assert [track.n_landmarks > 0 for track in found.tracks] == [abs(yaw) < 60 for yaw in yaws]
    assert all(math.isnan(track.residual_px) for track in found.tracks[6:])
    assert float(picture_error_px(case, found, outline=outline).max()) < 0.6
    assert all(torch.equal(track.camera.K, case.camera.K[0]) for track in found.tracks)
    # The world unit is recovered: the head keeps its size in metres.
    distance = torch.stack([track.camera.centre.norm() for track in found.tracks])
    torch.testing.assert_close(distance, torch.full_like(distance, 0.9), rtol=0.06, atol=0)


def test_a_face_in_the_wrong_place_is_rejected_and_leaves_the_others_alone() -> None:
    case = generated([-40.0, -20.0, 0.0, 20.0, 40.0, 175.0])
    case.weights[5] = 1
    case.points[5] = case.points[2]
    found = fit(case)
    assert [track.status for track in found.tracks] == ["ok"] * 5 + ["rejected"]
    assert found.tracks[5].reason == "the face found in the picture is not where the head is"
    assert float(picture_error_px(case, found)[:5].max()) < 0.6


def test_too_few_faces_reject_the_subject_with_a_reason() -> None:
    found = fit(generated([-10.0, 15.0, 90.0, 140.0]))
    assert found.fit is None
    assert {track.reason for track in found.tracks} == {"the face is seen in 2 of 4 views, at least 3 needed"}


def test_cameras_that_contradict_the_faces_reject_the_subject() -> None:
    case = generated([-40.0, -20.0, 0.0, 20.0, 40.0])
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    inverted = Camera(case.camera.K, torch.linalg.inv(case.camera.viewmat) @ flip, SIZE, SIZE)
    found = fit(Generated(inverted, case.exact, case.params, case.points, case.weights))
    assert all(track.status == "rejected" for track in found.tracks)
    assert "contradict" in found.tracks[0].reason or "fit one head" in found.tracks[0].reason
    assert found.fit is None


def test_views_of_other_moments_can_not_be_labelled() -> None:
    case = generated([-40.0, -20.0, 0.0, 20.0, 40.0, 120.0])
    found = fit(case, one_moment=False)
    assert [track.status for track in found.tracks] == ["ok"] * 5 + ["rejected"]
    assert "moment" in found.tracks[5].reason
    assert float(picture_error_px(case, found)[:5].max()) < 0.8


def test_landmarks_that_are_not_finite_count_as_unseen() -> None:
    case = generated([-40.0, -20.0, 0.0, 20.0, 40.0])
    case.points[1] = math.nan
    found = fit(case)
    assert [track.status for track in found.tracks] == ["ok"] * 5
    assert found.tracks[1].n_landmarks == 0


def test_rays_do_not_depend_on_a_cameras_own_focal_length_and_centre() -> None:
    camera = orbit_camera(
        torch.tensor([0.0, 0.0]), torch.zeros(2), distance_m=1.0, focal_px=500, width=SIZE, height=SIZE
    )
    K = camera.K.clone()
    K[1] = torch.tensor([[250.0, 0.0, 90.0], [0.0, 260.0, 140.0], [0.0, 0.0, 1.0]])
    camera = Camera(K, camera.viewmat, SIZE, SIZE)
    pixels = project(camera, torch.tensor([[[0.02, 0.03, 0.1], [-0.05, 0.01, 0.0]]]).expand(2, 2, 3))[0]
    rays = ray_points(pixels, camera)
    torch.testing.assert_close(rays[0], rays[1], atol=1e-3, rtol=0)
    torch.testing.assert_close(rays[0], pixels[0].double() - SIZE / 2, atol=1e-3, rtol=0)
