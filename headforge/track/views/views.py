"""Joint fit of one subject's views, with acceptance per view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headforge.flame.model import HeadModel
from headforge.geometry.cameras import pinhole_matrix
from headforge.track.detected_fit import detected_problem, fit_detected
from headforge.track.solver.basis import LandmarkBasis
from headforge.track.solver.fitted import fitted_camera, fitted_params
from headforge.track.solver.problem import Problem
from headforge.track.solver.solver import Fit, fit_subject
from headforge.track.solver.state import FitSettings
from headforge.types import Camera, Track


@dataclass(frozen=True)
class Gates:
    """Acceptance limits of a view."""

    min_landmarks: int
    """Fewest landmarks used."""
    max_residual_px: float
    """Largest root mean square over the landmarks used, per coordinate."""
    max_yaw_deg: float = 100.0
    """A head at larger yaw shows no landmarks, so such a fit is wrong."""


@dataclass(frozen=True)
class ViewLandmarks:
    """Landmarks of V views of one subject, all of one image size."""

    subject_id: str
    views: Sequence[int]
    points: Tensor
    """[V, L, 2] pixels."""
    weights: Tensor
    """[V, L] confidences; 0 hides a point."""
    width: int
    height: int


def fit_views(
    head: HeadModel,
    basis: LandmarkBasis,
    seen: ViewLandmarks,
    settings: FitSettings,
    gates: Gates,
    *,
    follow_outline: bool = False,
) -> tuple[list[Track], Fit | None]:
    """Return one track per view, in order; a failed view is rejected with a reason and does not affect the others.

    Also return the fit of the views with enough landmarks, or None without any. `follow_outline`: the jaw line follows
    the outline of the turned head, as in detected landmarks; `basis` is that of the static landmarks.
    """
    finite = torch.isfinite(seen.points).all(-1)
    n_seen = ((seen.weights > 0) & finite).sum(-1)
    usable = n_seen >= gates.min_landmarks
    early = {
        row: _too_few(int(n_seen[row]), int((~finite[row]).sum()), gates) for row in (~usable).nonzero()[:, 0].tolist()
    }
    fit, solved = None, {}
    if bool(usable.any()):
        centre = seen.points.new_tensor([seen.width / 2, seen.height / 2], dtype=torch.float64)
        points = torch.where(finite[..., None], seen.points.double() - centre, 0.0)[usable]
        weights = (seen.weights.double() * finite)[usable]
        if follow_outline:
            found = fit_detected(head, detected_problem(head, points, weights, settings))
            fit, basis = found.fit, found.basis
        else:
            fit = fit_subject(Problem(basis, points, weights, settings))
        solved = {int(row): i for i, row in enumerate(usable.nonzero()[:, 0].tolist())}
    focal = settings.focal_px if fit is None else float(fit.state.log_focal.exp())
    tracks = []
    for row in range(len(seen.points)):
        if row in early or fit is None:
            tracks.append(_rejected(head, seen, row, focal, early[row], int(n_seen[row])))
        else:
            tracks.append(_judged(head, basis, seen, row, fit, solved[row], gates))
    return tracks, fit


def _too_few(n_seen: int, n_bad: int, gates: Gates) -> str:
    reason = f"{n_seen} landmarks seen, at least {gates.min_landmarks} needed"
    return f"{reason}; {n_bad} are not finite" if n_bad else reason


def _rejected(head: HeadModel, seen: ViewLandmarks, row: int, focal_px: float, reason: str, n_landmarks: int) -> Track:
    camera = Camera(pinhole_matrix(focal_px, seen.width, seen.height), torch.eye(4), seen.width, seen.height)
    return rejected_track(head, seen.subject_id, seen.views[row], camera, reason, n_landmarks)


def _judged(
    head: HeadModel, basis: LandmarkBasis, seen: ViewLandmarks, row: int, fit: Fit, index: int, gates: Gates
) -> Track:
    camera = fitted_camera(fit, index, seen.width, seen.height)
    inliers = fit.inliers[index]
    n_used = int(inliers.sum())
    residual = float(fit.residuals[index][inliers].square().mean().sqrt()) if n_used else math.nan
    reason = _reason(head, camera, n_used, residual, gates)
    return Track(
        subject_id=seen.subject_id,
        view=seen.views[row],
        status="rejected" if reason else "ok",
        reason=reason,
        camera=camera,
        params=fitted_params(head, basis, fit, index),
        residual_px=residual,
        n_landmarks=n_used,
    )


def _reason(head: HeadModel, camera: Camera, n_used: int, residual_px: float, gates: Gates) -> str:
    if n_used < gates.min_landmarks:
        return f"{n_used} landmarks agree with one head, at least {gates.min_landmarks} needed"
    if not residual_px <= gates.max_residual_px:
        return f"the residual is {residual_px:.2f} px, at most {gates.max_residual_px:.2f} px allowed"
    offset = camera.centre - head.v_template.mean(0)
    yaw = abs(math.degrees(math.atan2(float(offset[0]), float(offset[2]))))
    if yaw > gates.max_yaw_deg:
        return f"the fitted head is turned away by {yaw:.0f} degrees, at most {gates.max_yaw_deg:.0f} make sense"
    return ""


def rejected_track(
    head: HeadModel, subject_id: str, view: int, camera: Camera, reason: str, n_landmarks: int = 0
) -> Track:
    """Return the row of a rejected view."""
    return Track(subject_id, view, "rejected", reason, camera, head.neutral(), math.nan, n_landmarks)
