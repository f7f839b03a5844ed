"""The stage `track` on a dataset: landmarks, one fit per subject, a table of tracks and how good they are."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from headforge.errors import ConfigError
from headforge.flame.model import HeadModel, pose_head
from headforge.geometry.cameras import focal_px_from_fov, yaw_pitch_deg
from headforge.geometry.meshes import similarity_alignment
from headforge.progress import SILENT, Progress
from headforge.store.shards import read_shard_views
from headforge.store.tables import write_tracks
from headforge.track.basis import LandmarkBasis, landmark_basis
from headforge.track.observe import NoiseSettings, Observations, observe_views
from headforge.track.problem import FitSettings
from headforge.track.solver import Fit
from headforge.track.views import Gates, ViewLandmarks, fit_views
from headforge.types import Camera, HeadParams, Track

VERSION = 1

REDUCE_ABOVE = 204
"""68 landmarks have 204 coordinates: more coefficients than this can't be told apart."""
N_COMPARED_VIEWS = 4
"""Views per subject whose vertices are compared with the exact ones."""


@dataclass(frozen=True)
class TrackConfig:
    """Settings of the stage `track`."""

    seed: int = 0
    """Seed of the synthetic detector's errors."""
    landmark_noise: float = 0.002
    """Standard deviation of the synthetic detector's error per coordinate, as a share of the image width."""
    missing_share: float = 0.05
    """Share of the visible landmarks that the synthetic detector misses."""
    outlier_share: float = 0.0
    """Share of the visible landmarks that the synthetic detector puts somewhere else."""
    focal_known: bool = False
    """Take the dataset's focal length as known instead of estimating one per subject."""
    initial_fov_deg: float = 25.0
    """Field of view at which the search for the focal length starts."""
    focal_sigma_log: float = 0.5
    """Prior width of the logarithm of the focal length."""
    shape_sigma: float = 1.0
    """Prior width of the shape coefficients."""
    expr_sigma: float = 0.5
    """Prior width of the expression coefficients."""
    jaw_sigma_rad: float = 0.15
    """Prior width of the jaw's opening; its sidewards and twisting angles have a fifth of it."""
    n_iterations: int = 14
    """Levenberg-Marquardt iterations at most."""
    min_landmarks: int = 20
    """A view with fewer landmarks is rejected."""
    max_residual: float = 0.02
    """A view with a larger root mean square residual, as a share of the image width, is rejected."""
    photo_fov_deg: float = 22.0
    """Field of view assumed for the square head crop of a photo."""
    photo_size: int = 512
    """Side of the square head crop of a photo, in pixels."""
    photo_margin: float = 1.0
    """Margin around the head in a photo's crop, in multiples of the default one."""
    photo_landmark_noise: float = 0.02
    """Standard deviation of a photo's landmarks (detector and head model together), in outer-eye distances."""
    photo_max_residual: float = 0.12
    """A photo with a larger root mean square residual, in outer-eye distances, is rejected."""
    coefficient_limit: float = 3.0
    """Largest shape or expression coefficient of a photo's fit."""

    def __post_init__(self) -> None:
        positive = ("initial_fov_deg", "focal_sigma_log", "shape_sigma", "expr_sigma", "jaw_sigma_rad", "n_iterations",
                    "max_residual", "photo_fov_deg", "photo_margin", "photo_landmark_noise", "photo_max_residual",
                    "coefficient_limit")  # fmt: skip
        for name in positive:
            _require(name, getattr(self, name), getattr(self, name) > 0, "a number above 0")
        for name in ("missing_share", "outlier_share"):
            _require(name, getattr(self, name), 0 <= getattr(self, name) < 1, "a share in [0, 1)")
        for name in ("initial_fov_deg", "photo_fov_deg"):
            _require(name, getattr(self, name), getattr(self, name) < 120, "an angle below 120 degrees")
        _require("landmark_noise", self.landmark_noise, 0 <= self.landmark_noise <= 0.1, "a share in [0, 0.1]")
        _require("min_landmarks", self.min_landmarks, 6 <= self.min_landmarks <= 68, "a count from 6 to 68")
        _require("photo_size", self.photo_size, 64 <= self.photo_size <= 2048, "a size from 64 to 2048 px")


def _require(name: str, found: object, fine: bool, expected: str) -> None:
    if not fine:
        key = f"track.{name}"
        raise ConfigError(key, found, f"{key} is {found!r}, expected {expected}.", f"set {key} to {expected}.")


@dataclass(frozen=True)
class SubjectViews:
    """Exact cameras and parameters of one subject's views."""

    subject_id: str
    views: Sequence[int]
    camera: Camera
    """[V]."""
    params: HeadParams
    """[V]."""


def track_shard(
    config: TrackConfig, shard: Path, head: HeadModel, output: Path, progress: Progress = SILENT
) -> dict[str, int]:
    """Track every subject of the dataset shard `shard` (part.parquet); returns counts of ok and rejected views.

    Writes `output`/part.parquet (one row per view) and `output`/quality.json (one entry per subject). A subject's
    rows don't depend on the other subjects of the shard.
    """
    subjects = read_subjects(shard)
    basis = stage_basis(head)
    progress.start(len(subjects), "subject")
    tracks: list[Track] = []
    quality: dict[str, dict[str, float]] = {}
    for subject in subjects:
        found, measured = track_subject(config, subject, head, basis)
        for track in found:
            if track.status != "ok":
                progress.item_rejected(f"{track.subject_id}/{track.view}", track.reason)
        tracks.extend(found)
        quality[subject.subject_id] = measured
        progress.item_done(subject.subject_id)
    output.mkdir(parents=True, exist_ok=True)
    write_tracks(output / "part.parquet", tracks)
    (output / "quality.json").write_text(json.dumps(quality, indent=1, sort_keys=True) + "\n")
    n_ok = sum(track.status == "ok" for track in tracks)
    return {"n_ok": n_ok, "n_rejected": len(tracks) - n_ok}


def stage_basis(head: HeadModel) -> LandmarkBasis:
    """The landmark basis of a head model, reduced if it has more coefficients than landmarks can tell apart."""
    basis = landmark_basis(head)
    return basis.reduced() if max(basis.n_shape, basis.n_expr) > REDUCE_ABOVE else basis


def track_subject(
    config: TrackConfig, subject: SubjectViews, head: HeadModel, basis: LandmarkBasis
) -> tuple[list[Track], dict[str, float]]:
    """The tracks of one subject from its noisy landmarks, and how they compare with the exact values."""
    noise = NoiseSettings(config.seed, config.landmark_noise, config.missing_share, config.outlier_share)
    observed = observe_views(head, subject.params, subject.camera, subject.subject_id, subject.views, noise)
    width, height = subject.camera.width, subject.camera.height
    seen = ViewLandmarks(subject.subject_id, subject.views, observed.points, observed.visible.double(), width, height)
    settings = fit_settings(config, width, float(subject.camera.K[0, 0, 0]))
    gates = Gates(config.min_landmarks, config.max_residual * width)
    tracks, fit = fit_views(head, basis, seen, settings, gates)
    return tracks, measure_quality(config, subject, head, observed, tracks, fit)


def fit_settings(config: TrackConfig, width: int, exact_focal_px: float) -> FitSettings:
    """The solver's settings for views of `width` pixels."""
    start = exact_focal_px if config.focal_known else focal_px_from_fov(config.initial_fov_deg, width)
    return FitSettings(
        sigma_px=max(config.landmark_noise, 2e-4) * width,
        focal_px=start,
        focal_known=config.focal_known,
        focal_sigma_log=config.focal_sigma_log,
        shape_sigma=config.shape_sigma,
        expr_sigma=config.expr_sigma,
        jaw_sigma_rad=(config.jaw_sigma_rad, config.jaw_sigma_rad / 5, config.jaw_sigma_rad / 5),
        n_iterations=config.n_iterations,
    )


def measure_quality(
    config: TrackConfig,
    subject: SubjectViews,
    head: HeadModel,
    observed: Observations,
    tracks: Sequence[Track],
    fit: Fit | None,
) -> dict[str, float]:
    """Sums and errors of one subject against the exact values; see `summarize_tracks` for their names."""
    ok = [row for row, track in enumerate(tracks) if track.status == "ok"]
    if fit is None or not ok:
        return {"n_ok": 0, "n_views": len(tracks)}
    fitted = (observed.visible.sum(-1) >= config.min_landmarks).nonzero()[:, 0].tolist()
    clean = observed.visible & ~observed.outliers
    square_sum = sum(float(fit.residuals[i][clean[row]].square().sum()) for i, row in enumerate(fitted))
    n_coordinates = 2 * int(clean[fitted].sum())
    state = fit.state
    n_unknowns = state.shape.numel() + state.expr.numel() + 9 * len(fitted) + (0 if config.focal_known else 1)
    camera = Camera.stack([tracks[row].camera for row in ok])
    exact = subject.camera[torch.tensor(ok)]
    angles = [a - b for a, b in zip(yaw_pitch_deg(camera), yaw_pitch_deg(exact), strict=True)]
    compared = ok[:: max(1, len(ok) // N_COMPARED_VIEWS)][:N_COMPARED_VIEWS]
    return {
        "n_ok": len(ok),
        "n_views": len(tracks),
        "square_sum_px2": square_sum,
        "n_coordinates": n_coordinates,
        "noise_floor_px": config.landmark_noise * subject.camera.width * math.sqrt(1 - n_unknowns / n_coordinates),
        "vertex_mm": vertex_error_mm(head, [tracks[row].params for row in compared], subject.params, compared),
        "focal_pct": 100 * float(camera.K[0, 0, 0] / exact.K[0, 0, 0] - 1),
        "yaw_deg": float(((angles[0] + 180) % 360 - 180).abs().mean()),
        "pitch_deg": float(angles[1].abs().mean()),
    }


def vertex_error_mm(head: HeadModel, tracked: Sequence[HeadParams], exact: HeadParams, rows: Sequence[int]) -> float:
    """Mean distance of the face region's vertices after a similarity alignment, over the given rows of `exact`."""
    region = head.regions["face"]
    ours = pose_head(head, HeadParams.stack(tracked))[:, region].double()
    truth = pose_head(head, exact[torch.tensor(list(rows))])[:, region].double()
    errors = []
    for source, target in zip(ours, truth, strict=True):
        scale, rotation, translation = similarity_alignment(source, target)
        errors.append(float((scale * source @ rotation.T + translation - target).norm(dim=-1).mean()))
    return 1000 * sum(errors) / len(errors)


def summarize_tracks(config: TrackConfig, parts: Sequence[Path], output: Path) -> dict[str, float]:
    """Join the folders written by `track_shard` into `output`/shards and `output`/tracks.json; returns the summary.

    rms_px: root mean square residual per coordinate over the points that are no outliers. noise_floor_px: what it
    would be for exact least squares, noise * sqrt(1 - unknowns / coordinates), mean over subjects. vertex_mm: mean
    over subjects of `vertex_error_mm`. focal_pct, yaw_deg, pitch_deg: mean absolute errors of the cameras.
    """
    (output / "shards").mkdir(parents=True, exist_ok=True)
    quality: dict[str, Mapping[str, float]] = {}
    for number, part in enumerate(parts):
        shutil.copyfile(part / "part.parquet", output / "shards" / f"part-{number:05d}.parquet")
        quality |= json.loads((part / "quality.json").read_text())
    summary = summarize_quality([quality[subject] for subject in sorted(quality)])
    summary["landmark_noise"] = config.landmark_noise
    (output / "tracks.json").write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")
    return summary


def summarize_quality(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over subjects of what `measure_quality` returned."""
    good = [row for row in rows if row["n_ok"]]
    n_ok = int(sum(row["n_ok"] for row in rows))
    summary: dict[str, float] = {
        "n_subjects": len(rows),
        "n_ok": n_ok,
        "n_rejected": int(sum(row["n_views"] for row in rows)) - n_ok,
    }
    if not good:
        return summary
    n_coordinates = sum(row["n_coordinates"] for row in good)
    summary["rms_px"] = math.sqrt(sum(row["square_sum_px2"] for row in good) / n_coordinates)
    for name in ("noise_floor_px", "vertex_mm", "focal_pct", "yaw_deg", "pitch_deg"):
        summary[name] = sum(abs(row[name]) for row in good) / len(good)
    summary["vertex_mm_max"] = max(row["vertex_mm"] for row in good)
    return summary


def read_subjects(shard: Path) -> list[SubjectViews]:
    """Exact cameras and parameters of every subject of a dataset shard, in stored order; pictures are not decoded."""
    views = read_shard_views(shard)
    return [
        SubjectViews(subject_id, views.views[rows].tolist(), views.camera[rows], views.params[rows])
        for subject_id, rows in views.subject_rows.items()
    ]
