from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from headforge.store.dataset.tables import (
    Reject,
    read_predictions,
    read_rejects,
    read_tracks,
    write_predictions,
    write_rejects,
    write_tracks,
)
from headforge.store.files import sha256_file
from headforge.types import Prediction
from tests.store.rows import assert_same_params, track


def prediction(subject: int, view: int, method: str) -> Prediction:
    rng = np.random.default_rng(view)
    return Prediction(f"{subject:06d}", view, method, -1, rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))


def test_tracks_survive_a_round_trip(tmp_path: Path) -> None:
    written = [track(0, 0), track(0, 1, "rejected"), track(1, 0)]
    write_tracks(tmp_path / "part.parquet", written)
    read = read_tracks(tmp_path / "part.parquet")
    assert list(read) == [("000000", 0), ("000000", 1), ("000001", 0)]
    for expected in written:
        found = read[expected.subject_id, expected.view]
        assert (found.status, found.reason, found.n_landmarks) == (
            expected.status,
            expected.reason,
            expected.n_landmarks,
        )
        assert torch.equal(found.camera.K, expected.camera.K)
        assert torch.equal(found.camera.viewmat, expected.camera.viewmat)
        assert_same_params(found.params, expected.params)
    assert math.isnan(read["000000", 1].residual_px)
    assert read["000001", 0].residual_px == 0.25


def test_a_folder_of_track_shards_reads_as_one(tmp_path: Path) -> None:
    write_tracks(tmp_path / "shards" / "part-00000.parquet", [track(0, 0)])
    write_tracks(tmp_path / "shards" / "part-00001.parquet", [track(1, 0)])
    assert list(read_tracks(tmp_path)) == [("000000", 0), ("000001", 0)]


def test_predictions_survive_a_round_trip(tmp_path: Path) -> None:
    written = [prediction(0, 1, "copy"), prediction(0, 2, "control_exact"), prediction(3, 1, "copy")]
    write_predictions(tmp_path / "p.parquet", written)
    for found, expected in zip(read_predictions(tmp_path / "p.parquet"), written, strict=True):
        assert (found.subject_id, found.view, found.method, found.reference_view) == (
            expected.subject_id,
            expected.view,
            expected.method,
            -1,
        )
        np.testing.assert_array_equal(found.image, expected.image)
    write_predictions(tmp_path / "again.parquet", iter(written))
    assert sha256_file(tmp_path / "p.parquet") == sha256_file(tmp_path / "again.parquet")


def test_rejects_survive_a_round_trip_and_may_be_none(tmp_path: Path) -> None:
    written = [Reject("000003", "coverage", "the head leaves the frame", 0.3), Reject("000004/1", "eyes", "shut", None)]
    write_rejects(tmp_path / "rejects.parquet", written)
    assert read_rejects(tmp_path / "rejects.parquet") == written
    write_rejects(tmp_path / "none.parquet", [])
    assert read_rejects(tmp_path / "none.parquet") == []
