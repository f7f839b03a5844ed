"""Joint fit of all frames of a film, with acceptance per frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from headforge.flame.model import HeadModel
from headforge.geometry.cameras import focal_px_from_fov
from headforge.track.crop import crop_around_landmarks, outer_eye_distance
from headforge.track.detected_fit import detected_problem
from headforge.track.solver.jaw_line import landmark_weights
from headforge.track.solver.problem import FitSettings, Problem, view_yaws_deg
from headforge.track.solver.solver import Fit
from headforge.track.video.chain import SmoothSettings, make_chain
from headforge.track.video.config import REFERENCE_FPS, VideoConfig
from headforge.track.video.detect import FilmLandmarks
from headforge.track.video.pose import fill_gaps, moving_head, still_camera
from headforge.track.video.solver import fit_film
from headforge.types import Camera, HeadParams

CUT_EYES = 0.6
"""A jump of the face by more than this many outer-eye distances between frames marks a cut."""


@dataclass(frozen=True)
class FilmFit:
    """Fit of a film of T frames, V of them fitted."""

    params: HeadParams
    """[T]: frames that were not fitted are interpolated between their neighbours."""
    camera: Camera
    """Unbatched: the camera is fixed, the head moves."""
    reasons: tuple[str, ...]
    """Per frame the reason for rejection; empty if accepted."""
    residual_eyes: np.ndarray
    """[T] mean distance over the landmarks in outer-eye distances; NaN where nothing was fitted."""
    residual_px: np.ndarray
    """[T] root mean square per coordinate; NaN likewise."""
    n_landmarks: np.ndarray
    """[T]."""

    @property
    def rows(self) -> np.ndarray:
        """Indices of the tracked frames."""
        return np.array([row for row, reason in enumerate(self.reasons) if not reason], dtype=np.int64)


@dataclass(frozen=True)
class Solved:
    """A fit of the frames `rows` and its problem."""

    rows: np.ndarray
    fit: Fit
    problem: Problem


def fit_landmarks(config: VideoConfig, head: HeadModel, seen: FilmLandmarks, fps: float) -> FilmFit | None:
    """Return the fit of a film's landmarks; None if no frame could be fitted. Non-finite points count as hidden."""
    reasons = list(_early_reasons(config, seen))
    solved: Solved | None = None
    for _ in range(2):  # the second pass omits the frames with large residuals
        rows = np.array([row for row, reason in enumerate(reasons) if not reason], dtype=np.int64)
        if not len(rows):
            return None
        solved = solve_rows(config, head, seen, rows, fps, film_settings(config, seen.points[rows]))
        late = _late_reasons(config, solved, seen)
        if not late:
            break
        for row, reason in late.items():
            reasons[row] = reason
    assert solved is not None
    good = ~np.isin(solved.rows, [row for row, reason in enumerate(reasons) if reason])
    return _film_fit(head, seen, solved, good, reasons) if good.any() else None


def solve_rows(
    config: VideoConfig, head: HeadModel, seen: FilmLandmarks, rows: np.ndarray, fps: float, settings: FitSettings
) -> Solved:
    """Return the joint fit of the frames `rows`."""
    points = torch.from_numpy(seen.points[rows])
    known = torch.isfinite(points).all(-1)
    centred = torch.where(known[..., None], points - points.new_tensor([seen.width / 2, seen.height / 2]), 0.0)
    problem = detected_problem(head, centred, known.double(), settings)
    breaks = film_breaks(config, seen.points, rows, fps)
    chain = make_chain(torch.from_numpy(rows), breaks, smooth_settings(config, fps), problem.basis.n_expr)
    fit = fit_film(problem, chain)
    if problem.outline is None:  # static jaw lines: far-side points are down-weighted
        yaws = view_yaws_deg(fit.state)
        far = torch.stack([landmark_weights(head, float(yaw)) for yaw in yaws]) / landmark_weights(head, 0.0)
        problem = replace(problem, weights=problem.weights * far)
        fit = fit_film(problem, chain, fit.state)
    return Solved(rows, fit, problem)


def film_settings(config: VideoConfig, points: np.ndarray) -> FitSettings:
    """Return solver settings from the frames' landmarks [V, 68, 2]; the head's size in pixels sets the scales."""
    eyes = float(np.nanmedian([outer_eye_distance(frame) for frame in points]))
    whole = [frame for frame in points if np.isfinite(frame).all()]
    sides = [crop_around_landmarks(frame, 256, 1.0).side for frame in whole] or [4 * eyes]
    narrower = math.sqrt(min(1.0, config.independent_frames / len(points)))
    return FitSettings(
        sigma_px=config.landmark_noise * eyes,
        focal_px=focal_px_from_fov(config.head_fov_deg, 1) * float(np.median(sides)),
        focal_sigma_log=narrower * config.focal_sigma_log,
        shape_sigma=narrower * config.shape_sigma,
        expr_sigma=config.expr_sigma,
        jaw_sigma_rad=(config.jaw_sigma_rad, config.jaw_sigma_rad / 5, config.jaw_sigma_rad / 5),
        coefficient_limit=config.coefficient_limit,
        n_iterations=config.n_iterations,
        # As for photos: the head model's misfit has heavy tails, so the soft kernel is kept throughout.
        n_annealing=config.n_iterations,
    )


def smooth_settings(config: VideoConfig, fps: float) -> SmoothSettings:
    """Return standard deviations for this frame rate; for white-noise acceleration they grow with time ** 1.5."""
    factor = (REFERENCE_FPS / fps) ** 1.5
    return SmoothSettings(
        turn_rad=factor * math.radians(config.smooth_turn_deg),
        move_m=factor * config.smooth_move_mm / 1000,
        jaw_rad=factor * math.radians(config.smooth_jaw_deg),
        expr=factor * config.smooth_expr,
    )


def film_breaks(config: VideoConfig, points: np.ndarray, rows: np.ndarray, fps: float) -> Tensor:
    """Return [V - 1] bool: whether the film is cut between consecutive frames `rows` of `points` [T, 68, 2]."""
    middles = np.array([np.nanmean(points[row], axis=0) for row in rows])
    eyes = np.array([outer_eye_distance(points[row]) for row in rows])
    gaps = np.diff(rows)
    jumps = np.linalg.norm(np.diff(middles, axis=0), axis=1) / np.nanmedian(eyes) / gaps
    return torch.from_numpy((gaps > max(1.0, config.max_gap_s * fps)) | (jumps > CUT_EYES))


def _early_reasons(config: VideoConfig, seen: FilmLandmarks) -> Sequence[str]:
    reasons = []
    for points, how, found in zip(seen.points, seen.how, seen.found, strict=True):
        n_seen = int(np.isfinite(points).all(-1).sum())
        if not found:
            reasons.append(how)
        elif n_seen < config.min_landmarks:
            reasons.append(f"{n_seen} landmarks are finite, at least {config.min_landmarks} needed")
        elif not outer_eye_distance(points) > 0:
            reasons.append("the outer eye corners are missing or in one place")
        else:
            reasons.append("")
    return reasons


def _late_reasons(config: VideoConfig, solved: Solved, seen: FilmLandmarks) -> dict[int, str]:
    residuals, _, _ = frame_residuals(solved, seen)
    return {
        int(row): f"the landmarks are off by {100 * residual:.1f} % of the outer-eye distance, "
        f"at most {100 * config.max_residual:.1f} % are allowed"
        for row, residual in zip(solved.rows, residuals, strict=True)
        if not residual <= config.max_residual
    }


def frame_residuals(solved: Solved, seen: FilmLandmarks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return per fitted frame [V] the mean error in outer-eye distances, RMS per coordinate in px, landmark count."""
    used = solved.problem.weights > 0
    n_used = used.sum(1)
    residuals = solved.fit.residuals
    eyes = torch.tensor([outer_eye_distance(seen.points[row]) for row in solved.rows], dtype=torch.float64)
    distance = (residuals.norm(dim=-1) * used).sum(1) / n_used / eyes
    rms = ((residuals.square().sum(-1) * used).sum(1) / (2 * n_used)).sqrt()
    return distance.numpy(), rms.numpy(), n_used.numpy()


def _film_fit(head: HeadModel, seen: FilmLandmarks, solved: Solved, good: np.ndarray, reasons: list[str]) -> FilmFit:
    camera = still_camera(solved.fit.state, seen.width, seen.height)
    params = moving_head(head, solved.problem.basis, solved.fit.state, camera)
    columns = []
    for values in frame_residuals(solved, seen):
        column = np.full(len(seen.points), np.nan)
        column[solved.rows] = values
        columns.append(column)
    filled = fill_gaps(params[torch.from_numpy(good)], solved.rows[good], len(seen.points))
    return FilmFit(filled, camera, tuple(reasons), columns[0], columns[1], np.nan_to_num(columns[2]).astype(np.int64))
