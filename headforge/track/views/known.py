"""Joint fit of one subject's views with known cameras, with acceptance per view; faceless views are labelled too.

This labels pictures of a generator that has cameras but no head model: landmarks where a detector finds the face, one
placement, shape and expression for all views, and all other views by projection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headforge.flame.model import HeadModel
from headforge.track.detected_fit import DetectedFit, detected_problem, fit_detected, reduced_if_large
from headforge.track.solver.basis import landmark_basis
from headforge.track.solver.fitted import fitted_params
from headforge.track.solver.placement import AdvanceTied, Rig, initial_placement, placement_of
from headforge.track.solver.problem import Problem
from headforge.track.solver.solver import Fit, fit_subject, initial_state
from headforge.track.solver.state import FitSettings, FitState
from headforge.track.views.views import ViewLandmarks, rejected_track
from headforge.types import Camera, Track


@dataclass(frozen=True)
class KnownGates:
    """Acceptance limits of a subject and its views."""

    min_landmarks: int
    """Fewest landmarks of a view that counts as showing the face."""
    min_face_views: int
    """Fewest views that show the face; at least 2, as one view doesn't determine the head's size."""
    max_residual_px: float
    """Largest root mean square over the landmarks used, per coordinate."""


@dataclass(frozen=True)
class KnownFit:
    """Result of one subject."""

    tracks: list[Track]
    """One per view, in order."""
    fit: DetectedFit | None
    """Of the views in `rows`; None if the subject was rejected."""
    rows: list[int]
    """Views used in the fit."""


def ray_points(points: Tensor, camera: Camera) -> Tensor:
    """Convert pixels [V, L, 2] of cameras [V] to pixels from the principal point at the first camera's focal length."""
    homogeneous = torch.cat([points.double(), torch.ones_like(points[..., :1]).double()], dim=-1)
    rays = homogeneous @ torch.linalg.inv(camera.K.double()).transpose(1, 2)
    return camera.K[0, 0, 0].double() * rays[..., :2] / rays[..., 2:]


def fit_known_views(
    head: HeadModel,
    seen: ViewLandmarks,
    camera: Camera,
    settings: FitSettings,
    gates: KnownGates,
    *,
    follow_outline: bool,
) -> KnownFit:
    """Fit one subject's `seen` landmarks through its known cameras [V].

    The tracks' cameras are the known ones as seen from the head: its origin and axes, metres, the same K. With
    `settings.one_moment` views without a face are labelled by projection, else they are rejected. `follow_outline`: the
    jaw line follows the outline of the turned head, as in detected landmarks.
    """
    finite = torch.isfinite(seen.points).all(-1)
    weights = seen.weights.double() * finite
    with_face = ((weights > 0).sum(-1) >= gates.min_landmarks).nonzero()[:, 0]
    if len(with_face) < gates.min_face_views:
        return _rejected(
            head, seen, camera,
            f"the face is seen in {len(with_face)} of {len(seen.points)} views, at least {gates.min_face_views} needed",
        )  # fmt: skip
    points = ray_points(torch.where(finite[..., None], seen.points, 0.0), camera)
    settings = replace(settings, focal_px=float(camera.K[0, 0, 0]), focal_known=True)
    basis, rig = reduced_if_large(landmark_basis(head)), Rig.of(camera)
    problem = Problem(basis, points[with_face], weights[with_face], settings)
    if follow_outline:
        problem = detected_problem(head, points[with_face], weights[with_face], settings)
    start, trusted = _start(problem, rig[with_face])
    rows = with_face[trusted]
    if start is None or len(rows) < max(gates.min_face_views, len(with_face) / 2):
        return _rejected(
            head, seen, camera,
            f"cameras and faces contradict each other: {len(rows)} of {len(with_face)} views agree on the head's place",
        )  # fmt: skip
    problem = replace(problem, points=problem.points[trusted], weights=problem.weights[trusted])
    advance = AdvanceTied(rig[rows])
    if follow_outline:
        found = fit_detected(head, problem, start, advance)
    else:
        found = DetectedFit(fit_subject(problem, start, advance), basis)
    tracks = _judged(head, seen, camera, found, {int(row): i for i, row in enumerate(rows)}, with_face.tolist(), gates)
    n_good = sum(tracks[row].status == "ok" for row in rows.tolist())
    if n_good < gates.min_face_views:
        return _rejected(
            head, seen, camera,
            f"{n_good} of {len(with_face)} views with a face fit one head, at least {gates.min_face_views} needed",
        )  # fmt: skip
    return KnownFit(tracks, found, rows.tolist())


def _start(problem: Problem, rig: Rig) -> tuple[FitState | None, Tensor]:
    """Return the mean head's initial state in the rig, None if implausible, and the views [V] bool that agree."""
    blank = initial_state(problem)
    placement, trusted = initial_placement(rig, blank.rotation, blank.translation)
    if not float(placement.unit_m) > 0:
        return None, torch.zeros_like(trusted)
    if len(blank.expr) > 1:
        blank = replace(blank, expr=blank.expr[trusted], jaw=blank.jaw[trusted])
    rotation, translation = placement.poses(rig[trusted])
    return replace(blank, rotation=rotation, translation=translation), trusted


def _rejected(head: HeadModel, seen: ViewLandmarks, camera: Camera, reason: str) -> KnownFit:
    n_seen = (seen.weights > 0).sum(-1)
    tracks = [
        rejected_track(head, seen.subject_id, view, camera[row], reason, int(n_seen[row]))
        for row, view in enumerate(seen.views)
    ]
    return KnownFit(tracks, None, [])


def _judged(
    head: HeadModel, seen: ViewLandmarks, camera: Camera, found: DetectedFit, index_of: Mapping[int, int],
    with_face: list[int], gates: KnownGates,
) -> list[Track]:  # fmt: skip
    fit, basis = found.fit, found.basis
    rig = Rig.of(camera)
    rows = torch.tensor(sorted(index_of))
    placement = placement_of(rig[rows], fit.state)
    rotation, translation = placement.poses(rig)
    one_moment = len(fit.state.expr) == 1
    tracks = []
    for row, view in enumerate(seen.views):
        viewmat = torch.eye(4)
        viewmat[:3, :3], viewmat[:3, 3] = rotation[row].float(), translation[row].float()
        own = Camera(camera.K[row], viewmat, camera.width, camera.height)
        index = index_of.get(row)
        n_used, residual = _residual(fit, index, float(camera.K[row, 0, 0] / camera.K[0, 0, 0]))
        reason = _reason(index, row in with_face, one_moment, n_used, residual, gates)
        if reason:
            tracks.append(rejected_track(head, seen.subject_id, view, own, reason, n_used))
            continue
        params = fitted_params(head, basis, fit, 0 if index is None else index)
        tracks.append(Track(seen.subject_id, view, "ok", "", own, params, residual, n_used))
    return tracks


def _residual(fit: Fit, index: int | None, focal_ratio: float) -> tuple[int, float]:
    """Return the number of landmarks used and their RMS residual in the view's own pixels; NaN without any."""
    if index is None or not bool(fit.inliers[index].any()):
        return 0, math.nan
    inliers = fit.inliers[index]
    return int(inliers.sum()), focal_ratio * float(fit.residuals[index][inliers].square().mean().sqrt())


def _reason(
    index: int | None, with_face: bool, one_moment: bool, n_used: int, residual_px: float, gates: KnownGates
) -> str:
    """Return the reason to reject a view; empty if it is accepted."""
    if index is None and with_face:
        return "the face found in the picture is not where the head is"
    if index is None:
        return "" if one_moment else "no face was found, and no other view shows the same moment"
    if n_used < gates.min_landmarks // 2:
        return f"{n_used} landmarks agree with the head in the other views"
    if not residual_px <= gates.max_residual_px:
        return f"the residual is {residual_px:.2f} px, at most {gates.max_residual_px:.2f} px allowed"
    return ""
