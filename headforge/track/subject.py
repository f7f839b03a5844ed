"""Tracking of one dataset subject: landmarks, fit and tracks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from headforge.errors import ConfigError
from headforge.flame.model import HeadModel
from headforge.geometry.cameras import focal_px_from_fov
from headforge.store.dataset.shards import read_shard_views
from headforge.track.config import TrackConfig
from headforge.track.crop import OUTER_EYES
from headforge.track.detected_fit import reduced_if_large
from headforge.track.observe import FaceDetector, NoiseSettings, detect_views, observe_views
from headforge.track.photometric.photometric import PhotometricSettings
from headforge.track.photometric.tracks import SubjectPictures, refine_tracks
from headforge.track.quality import compare_tracks, count_views
from headforge.track.solver.basis import LandmarkBasis, landmark_basis
from headforge.track.solver.solver import Fit
from headforge.track.solver.state import FitSettings
from headforge.track.views.known import KnownGates, fit_known_views
from headforge.track.views.views import Gates, ViewLandmarks, fit_views
from headforge.types import NO_HEAD_MODEL, Camera, HeadParams, Track


@dataclass(frozen=True)
class SubjectViews:
    """Dataset records of one subject's V views."""

    subject_id: str
    views: Sequence[int]
    camera: Camera
    """[V]."""
    params: HeadParams
    """[V]; of no head model if unknown."""
    timesteps: Sequence[int | None]
    """[V]."""

    @property
    def has_params(self) -> bool:
        """Whether the exact parameters are known."""
        return self.params.model_id != NO_HEAD_MODEL

    @property
    def one_moment(self) -> bool:
        """Whether all views show the same moment."""
        return None not in self.timesteps and len(set(self.timesteps)) == 1


@dataclass(frozen=True)
class SubjectLandmarks:
    """Landmarks of one subject's views and, if simulated, which of them are gross outliers."""

    seen: ViewLandmarks
    outliers: Tensor | None
    """[V, 68] bool; None for detected landmarks. Used for evaluation only, never by the fit."""


def read_subjects(shard: Path) -> list[SubjectViews]:
    """Read cameras and parameters of every subject of a dataset shard, in stored order; pictures are not decoded."""
    views = read_shard_views(shard)
    return [
        SubjectViews(
            subject_id, views.views[rows].tolist(), views.camera[rows], views.params[rows], views.timesteps[rows]
        )
        for subject_id, rows in views.subject_rows.items()
    ]


def observe_subject(
    config: TrackConfig,
    subject: SubjectViews,
    head: HeadModel,
    pictures: Iterable[np.ndarray],
    faces: FaceDetector | None,
) -> SubjectLandmarks:
    """Return landmarks detected by `faces` in the `pictures`, or simulated from the exact values if `faces` is None.

    Raises ConfigError if they can't be simulated because the exact values are unknown.
    """
    camera = subject.camera
    if faces is not None:
        points, weights = detect_views(faces, pictures)
        seen = ViewLandmarks(subject.subject_id, subject.views, points, weights, camera.width, camera.height)
        return SubjectLandmarks(seen, None)
    if not subject.has_params:
        raise ConfigError(
            "track.landmarks", config.landmarks,
            "landmarks can't be simulated: the head parameters of this dataset are unknown.",
            "set track.landmarks to detected.",
        )  # fmt: skip
    noise = NoiseSettings(config.seed, config.landmark_noise, config.missing_share, config.outlier_share)
    found = observe_views(head, subject.params, camera, subject.subject_id, subject.views, noise)
    seen = ViewLandmarks(
        subject.subject_id, subject.views, found.points, found.visible.double(), camera.width, camera.height
    )
    return SubjectLandmarks(seen, found.outliers)


def stage_basis(head: HeadModel) -> LandmarkBasis:
    """Return the landmark basis of a head model, reduced if it has more coefficients than landmarks can determine."""
    return reduced_if_large(landmark_basis(head))


def track_subject(
    config: TrackConfig,
    subject: SubjectViews,
    head: HeadModel,
    basis: LandmarkBasis,
    found: SubjectLandmarks,
    pictures: SubjectPictures | None = None,
) -> tuple[list[Track], dict[str, float]]:
    """Return one subject's tracks from its landmarks, and their errors against the exact values, if known.

    `pictures` are used for refinement if `config.photometric` is set.
    """
    seen, simulated = found.seen, found.outliers is not None
    settings = fit_settings(config, subject, found)
    max_residual_px = config.max_residual * seen.width
    if config.camera == "known":
        gates = KnownGates(config.min_landmarks, config.min_face_views, max_residual_px)
        known = fit_known_views(head, seen, subject.camera, settings, gates, follow_outline=not simulated)
        tracks, fit, rows = known.tracks, known.fit and known.fit.fit, known.rows
    else:
        gates = Gates(config.min_landmarks, max_residual_px)
        tracks, fit = fit_views(head, basis, seen, settings, gates, follow_outline=not simulated)
        rows = ((seen.weights > 0).sum(-1) >= config.min_landmarks).nonzero()[:, 0].tolist()
    if config.photometric and pictures is not None:
        tracks = refine_tracks(head, tracks, seen, pictures, photometric_settings(config), max_residual_px)
    if fit is None or not subject.has_params or not any(track.status == "ok" for track in tracks):
        return tracks, count_views(tracks)
    measured = compare_tracks(head, tracks, subject.camera, subject.params)
    return tracks, measured | (noise_measures(config, found, fit, rows) if simulated else {})


def photometric_settings(config: TrackConfig) -> PhotometricSettings:
    """Return the refinement's settings for a dataset: the light is fixed to the head's world."""
    return PhotometricSettings(
        n_texture_steps=config.photometric_texture_steps,
        n_joint_steps=config.photometric_joint_steps,
        render_size=config.photometric_size,
        is_focal_known=config.focal_known,
        is_camera_known=config.camera == "known",
        seed=config.seed,
    )


def fit_settings(config: TrackConfig, subject: SubjectViews, found: SubjectLandmarks) -> FitSettings:
    """Return the solver's settings for one subject's views."""
    width, simulated = found.seen.width, found.outliers is not None
    exact_focal_px = float(subject.camera.K[0, 0, 0])
    known = config.focal_known or config.camera == "known"
    noise_px = max(config.landmark_noise, 2e-4) * width
    return FitSettings(
        sigma_px=noise_px if simulated else config.photo_landmark_noise * eye_distance_px(found.seen),
        focal_px=exact_focal_px if known else focal_px_from_fov(config.initial_fov_deg, width),
        focal_known=known,
        focal_sigma_log=config.focal_sigma_log,
        shape_sigma=config.shape_sigma,
        expr_sigma=config.expr_sigma,
        jaw_sigma_rad=(config.jaw_sigma_rad, config.jaw_sigma_rad / 5, config.jaw_sigma_rad / 5),
        one_moment=config.camera == "known" and subject.one_moment,
        coefficient_limit=math.inf if simulated else config.coefficient_limit,
        n_iterations=config.n_iterations,
        # The head model's misfit to pictures has heavy tails: the soft kernel is kept throughout.
        n_annealing=FitSettings.n_annealing if simulated else config.n_iterations,
    )


def eye_distance_px(seen: ViewLandmarks) -> float:
    """Return the largest distance between the outer eye corners over the views with a face; 1 if there are none."""
    both = (seen.weights[:, OUTER_EYES[0]] > 0) & (seen.weights[:, OUTER_EYES[1]] > 0)
    distance = (seen.points[:, OUTER_EYES[0]] - seen.points[:, OUTER_EYES[1]]).norm(dim=-1)[both]
    return float(distance.max().clamp_min(1.0)) if len(distance) else 1.0


def noise_measures(config: TrackConfig, found: SubjectLandmarks, fit: Fit, rows: Sequence[int]) -> dict[str, float]:
    """Return sums over the simulated landmarks that are not outliers in the fit's views `rows`."""
    assert found.outliers is not None
    clean = (found.seen.weights > 0) & ~found.outliers
    square_sum = sum(float(fit.residuals[i][clean[row]].square().sum()) for i, row in enumerate(rows))
    n_coordinates = 2 * int(clean[list(rows)].sum())
    state = fit.state
    n_poses = 7 if config.camera == "known" else 6 * len(rows)
    n_focal = 0 if config.focal_known or config.camera == "known" else 1
    n_unknowns = state.shape.numel() + state.expr.numel() + state.jaw.numel() + n_poses + n_focal
    return {
        "square_sum_px2": square_sum,
        "n_coordinates": n_coordinates,
        "noise_floor_px": config.landmark_noise * found.seen.width * math.sqrt(1 - n_unknowns / n_coordinates),
    }
