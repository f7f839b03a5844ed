"""The stage on a small shard: tables, quality, independence of other subjects, rejected views."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from headforge.errors import ConfigError
from headforge.flame.model import HeadModel, landmarks, pose_head
from headforge.geometry.cameras import orbit_camera, project
from headforge.store.dataset.shards import write_shard
from headforge.store.dataset.tables import read_tracks
from headforge.track.config import TrackConfig
from headforge.track.observe import NoiseSettings, observe_views, visible_landmarks
from headforge.track.solver.basis import landmark_basis
from headforge.track.solver.state import FitSettings
from headforge.track.track import summarize_tracks, track_shard
from headforge.track.views.views import Gates, ViewLandmarks, fit_views
from headforge.types import HeadParams, Sample
from tests.heads import tiny_head
from tests.track.scenes import make_scene

SIZE = 128
N_VIEWS = 8


def samples(head: HeadModel, number: int) -> list[Sample]:
    scene = make_scene(head, n_views=N_VIEWS, size=SIZE, seed=number, yaw_max_deg=40)
    image, mask = np.zeros((SIZE, SIZE, 3), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    return [
        Sample(
            f"{number:06d}", view, "train", "synthetic", 0, image, mask, scene.camera[view], scene.params[view], 0, 0
        )
        for view in range(N_VIEWS)
    ]


def tracked(folder: Path, numbers: list[int], config: TrackConfig) -> Path:
    head = tiny_head()
    write_shard(folder / "in.parquet", [samples(head, number) for number in numbers])
    track_shard(config, folder / "in.parquet", head, folder / "out")
    return folder / "out"


def test_a_subjects_rows_do_not_depend_on_its_shard(tmp_path: Path) -> None:
    config = TrackConfig(outlier_share=0.02)
    (tmp_path / "alone").mkdir()
    (tmp_path / "together").mkdir()
    alone = read_tracks(tracked(tmp_path / "alone", [5], config) / "part.parquet")
    together = read_tracks(tracked(tmp_path / "together", [3, 5, 9], config) / "part.parquet")
    assert {key for key in together if key[0] == "000005"} == set(alone)
    for key, track in alone.items():
        other = together[key]
        assert torch.equal(track.camera.viewmat, other.camera.viewmat)
        assert torch.equal(track.camera.K, other.camera.K)
        for name, value in track.params.tensors().items():
            assert torch.equal(value, getattr(other.params, name))
        assert track.residual_px == other.residual_px


def test_the_summary_reports_the_noise_floor_and_small_errors(tmp_path: Path) -> None:
    config = TrackConfig()
    part = tracked(tmp_path, [0, 1], config)
    summary = summarize_tracks(config, [part], tmp_path / "tracked")
    assert json.loads((tmp_path / "tracked" / "tracks.json").read_text()) == summary
    assert len(read_tracks(tmp_path / "tracked")) == 2 * N_VIEWS
    assert summary["n_ok"] == 2 * N_VIEWS
    assert summary["n_rejected"] == 0
    assert 0.9 < summary["rms_px"] / summary["noise_floor_px"] < 1.15
    assert summary["vertex_mm"] < 3
    assert summary["yaw_deg"] < 1.5
    assert abs(summary["focal_pct"]) < 15


def test_exact_focal_length_can_be_given(tmp_path: Path) -> None:
    config = TrackConfig(focal_known=True)
    summary = summarize_tracks(config, [tracked(tmp_path, [0], config)], tmp_path / "tracked")
    assert summary["focal_pct"] == pytest.approx(0, abs=1e-4)


def test_bad_views_are_rejected_with_a_reason_and_leave_the_others_alone() -> None:
    head = tiny_head()
    scene = make_scene(head, n_views=6, size=SIZE, noise_px=0.3)
    points, weights = scene.points.clone(), scene.weights.clone()
    points[1, :60] = math.nan
    weights[2] = 0
    generator = torch.Generator().manual_seed(0)
    points[3] = SIZE * torch.rand(68, 2, generator=generator, dtype=torch.float64)
    settings = FitSettings(sigma_px=0.3, focal_px=2.4 * SIZE)
    seen = ViewLandmarks("a", range(6), points, weights, SIZE, SIZE)
    tracks, _ = fit_views(head, landmark_basis(head), seen, settings, Gates(20, 2.0))
    assert [track.status for track in tracks] == ["ok", "rejected", "rejected", "rejected", "ok", "ok"]
    assert "not finite" in tracks[1].reason
    assert tracks[2].reason == "0 landmarks seen, at least 20 needed"
    assert "landmarks agree" in tracks[3].reason or "residual" in tracks[3].reason
    assert all(track.residual_px < 0.5 for track in tracks if track.status == "ok")


def test_a_subject_without_any_usable_view_is_rejected_whole() -> None:
    head = tiny_head()
    scene = make_scene(head, n_views=2, size=SIZE)
    seen = ViewLandmarks("a", range(2), scene.points, 0 * scene.weights, SIZE, SIZE)
    settings = FitSettings(sigma_px=1, focal_px=300)
    tracks, fit = fit_views(head, landmark_basis(head), seen, settings, Gates(20, 2.0))
    assert fit is None
    assert all(track.status == "rejected" for track in tracks)
    assert float(tracks[0].camera.K[0, 0]) == 300


def test_visibility_follows_the_turn() -> None:
    head = tiny_head()
    camera = orbit_camera(torch.tensor([0.0, 70.0, -70.0, 180.0]), torch.zeros(4), distance_m=1.0, focal_px=300,
                          width=SIZE, height=SIZE)  # fmt: skip
    vertices = pose_head(head, head.neutral((4,)))
    visible = visible_landmarks(head, vertices, landmarks(head, vertices), camera)
    assert bool(visible[0, 17:].all())
    # Landmark 0 is on the subject's right, which a camera on the left doesn't see.
    assert not bool(visible[1, 0]) and bool(visible[1, 16])
    assert bool(visible[2, 0]) and not bool(visible[2, 16])
    assert not bool(visible[3, 27:].any())


def test_landmark_errors_depend_on_the_view_only() -> None:
    head = tiny_head()
    scene = make_scene(head, n_views=4, size=SIZE, yaw_max_deg=20)
    noise = NoiseSettings(seed=1, noise=0.002, missing_share=0.3, outlier_share=0.1)
    whole = observe_views(head, scene.params, scene.camera, "x", range(4), noise)
    rows = torch.tensor([2])
    alone = observe_views(head, scene.params[rows], scene.camera[rows], "x", [2], noise)
    # The projection itself may differ in the last bit between batch sizes.
    torch.testing.assert_close(alone.points[0], whole.points[2], atol=1e-4, rtol=0)
    assert torch.equal(alone.visible[0], whole.visible[2])
    other = observe_views(head, scene.params, scene.camera, "y", range(4), noise)
    assert float((whole.points - other.points).std()) > 0.002 * SIZE
    clean = ~whole.outliers
    error = (whole.points - scene.points)[clean]
    assert float(error.std()) == pytest.approx(0.002 * SIZE, rel=0.15)


@pytest.mark.parametrize(
    ("name", "value"), [("landmark_noise", -1.0), ("min_landmarks", 3), ("initial_fov_deg", 130.0)]
)
def test_bad_settings_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ConfigError) as error:
        TrackConfig(**{name: value})  # type: ignore[arg-type]
    assert error.value.key == f"track.{name}"
    assert error.value.found == value


@dataclass(frozen=True)
class Face:
    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float = 1.0


@dataclass
class Faces:
    """Finds the faces of a shard's pictures in order; those beyond 60 degrees of yaw not."""

    found: list[list[Face]]

    def detect_landmarks(self, image: np.ndarray) -> list[Face]:
        return self.found.pop(0)


def generated_samples(head: HeadModel, *, unknown: bool = True) -> tuple[list[Sample], list[list[Face]]]:
    """Pictures of a head that stands still, the camera going round it, and what a detector finds in them."""
    yaws = torch.tensor([-45.0, -20.0, 5.0, 30.0, 50.0, 120.0, 180.0])
    camera = orbit_camera(yaws, torch.zeros(7), distance_m=1.1, focal_px=2.4 * SIZE, width=SIZE, height=SIZE)
    params = head.neutral((1,)).replace(shape=torch.linspace(-1, 1, head.n_shape)[None])
    points = project(camera, landmarks(head, pose_head(head, params)))[0].double().numpy()
    image, mask = np.zeros((SIZE, SIZE, 3), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    known = HeadParams.unknown() if unknown else params[0]
    rows = [
        Sample("000000", view, "train", "synthetic", 0, image, mask, camera[view], known, 0, 0, timestep=0)
        for view in range(7)
    ]
    wrong = Face((0, 0, 5, 5), points[0] * 0)
    return rows, [[wrong, Face((0, 0, 90, 90), points[view])] if view < 5 else [] for view in range(7)]


def test_pictures_with_known_cameras_and_unknown_parameters_are_labelled(tmp_path: Path) -> None:
    head = tiny_head()
    rows, found = generated_samples(head)
    write_shard(tmp_path / "in.parquet", [rows], has_moments=True)
    config = TrackConfig(camera="known", landmarks="detected")
    counts = track_shard(config, tmp_path / "in.parquet", head, tmp_path / "out", faces=Faces(found))
    assert counts == {"n_ok": 7, "n_rejected": 0}
    tracks = read_tracks(tmp_path / "out" / "part.parquet")
    assert [tracks["000000", view].n_landmarks > 0 for view in range(7)] == [True] * 5 + [False] * 2
    behind = tracks["000000", 6].camera.centre
    assert float(behind[2]) < -0.9
    summary = summarize_tracks(config, [tmp_path / "out"], tmp_path / "tracked")
    assert summary == {"n_subjects": 1, "n_ok": 7, "n_rejected": 0}


def test_known_cameras_and_simulated_landmarks_are_measured(tmp_path: Path) -> None:
    config = TrackConfig(camera="known")
    summary = summarize_tracks(config, [tracked(tmp_path, [0, 1], config)], tmp_path / "tracked")
    assert summary["n_ok"] == 2 * N_VIEWS
    assert 0.9 < summary["rms_px"] / summary["noise_floor_px"] < 1.15
    assert summary["focal_pct"] == 0
    assert summary["yaw_deg"] < 1.5


def test_landmarks_of_unknown_parameters_can_not_be_simulated(tmp_path: Path) -> None:
    rows, _ = generated_samples(tiny_head())
    write_shard(tmp_path / "in.parquet", [rows], has_moments=True)
    with pytest.raises(ConfigError) as error:
        track_shard(TrackConfig(), tmp_path / "in.parquet", tiny_head(), tmp_path / "out")
    assert error.value.key == "track.landmarks"
    assert "detected" in str(error.value)
    assert not (tmp_path / "out").exists()
