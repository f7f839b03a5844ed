"""Fit of many views of one subject to detected landmarks.

A detector's jaw line follows the outline of the turned head, and hidden points are guesses: landmarks that the fitted
mesh hides are dropped in the final fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headforge.flame.model import HeadModel, pose_head
from headforge.geometry.cameras import pinhole_matrix
from headforge.geometry.meshes import face_normals, interpolate_on_faces
from headforge.render.visibility import visible_points
from headforge.track.solver.basis import LandmarkBasis
from headforge.track.solver.fitted import fitted_params
from headforge.track.solver.jaw_line import landmark_weights, outline_of
from headforge.track.solver.outline import N_JAW_LINE, Outline
from headforge.track.solver.problem import Problem, view_yaws_deg
from headforge.track.solver.solver import Advance, Fit, advance_freely, fit_subject
from headforge.track.solver.state import FitSettings, FitState
from headforge.types import Camera, HeadParams

REDUCE_ABOVE = 204
"""68 landmarks have 204 coordinates: more coefficients than this are not identifiable."""
VISIBILITY_SIZE_PX = 128
"""Side of the depth maps used to find the points that the fitted mesh hides."""


@dataclass(frozen=True)
class DetectedFit:
    """A fit and the basis whose coefficients it found."""

    fit: Fit
    basis: LandmarkBasis


def reduced_if_large(basis: LandmarkBasis) -> LandmarkBasis:
    """Return the basis, reduced if it has more coefficients than the landmarks can determine."""
    return basis.reduced() if max(basis.n_shape, basis.n_expr) > REDUCE_ABOVE else basis


def detected_problem(head: HeadModel, points: Tensor, weights: Tensor, settings: FitSettings) -> Problem:
    """Return the problem of landmarks `points` [V, 68, 2] (pixels from the principal point), confidences [V, 68]."""
    basis, outline = outline_of(head)
    if outline is not None:
        outline = Outline(reduced_if_large(outline.basis))
        basis, _ = outline.layout(torch.zeros(1))
    return Problem(reduced_if_large(basis), points, weights * landmark_weights(head, 0.0), settings, outline)


def fit_detected(
    head: HeadModel, problem: Problem, start: FitState | None = None, advance: Advance = advance_freely
) -> DetectedFit:
    """Fit a `detected_problem`, then refit it without the landmarks that the fitted mesh hides."""
    fit = fit_subject(problem, start, advance)
    yaws = view_yaws_deg(fit.state)
    far = torch.stack([landmark_weights(head, float(yaw)) for yaw in yaws]) / landmark_weights(head, 0.0)
    seen = problem.weights * far * visible_in_fit(head, problem.basis, fit)
    return DetectedFit(fit_subject(replace(problem, weights=seen), fit.state, advance), problem.basis)


def visible_in_fit(head: HeadModel, basis: LandmarkBasis, fit: Fit) -> Tensor:
    """Return the visibility [V, 68] of landmarks on the fitted head: 1 visible, 0 hidden; jaw lines are always 1.

    A jaw line on the outline lies at the occluding contour, where a visibility test is unreliable.
    """
    state, n_views = fit.state, len(fit.state.rotation)
    vertices = pose_head(head, HeadParams.stack([fitted_params(head, basis, fit, view) for view in range(n_views)]))
    viewmat = torch.eye(4).repeat(n_views, 1, 1)
    viewmat[:, :3, :3], viewmat[:, :3, 3] = state.rotation.float(), state.translation.float()
    faces, barycentrics = head.landmark_faces[N_JAW_LINE:], head.landmark_barycentrics[N_JAW_LINE:]
    places = interpolate_on_faces(vertices, head.faces, faces, barycentrics)
    normals = face_normals(vertices, head.faces[faces])
    seen = visible_points(vertices, head.faces, places, normals, _framing_camera(viewmat, places))
    return torch.cat([torch.ones(n_views, N_JAW_LINE, dtype=torch.bool), seen], dim=1).double()


def _framing_camera(viewmat: Tensor, places: Tensor) -> Camera:
    """Return cameras at `viewmat` [V, 4, 4] whose small images contain all points `places` [V, P, 3]."""
    local = places @ viewmat[:, :3, :3].transpose(1, 2) + viewmat[:, None, :3, 3]
    slope = (local[..., :2].abs() / local[..., 2:].clamp_min(1e-3)).flatten(1).amax(1)
    size = VISIBILITY_SIZE_PX
    return Camera(pinhole_matrix(0.45 * size / slope, size, size), viewmat, size, size)
