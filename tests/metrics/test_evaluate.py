from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from headforge.errors import ConfigError, DataError
from headforge.metrics.config import EvaluateConfig
from headforge.metrics.evaluate import IDENTITY_PROTOCOL, evaluate
from headforge.metrics.perceptual import PerceptualDistance, PerceptualMini
from headforge.store.dataset.shards import write_dataset_json, write_shard
from headforge.store.dataset.tables import write_predictions
from headforge.store.files import sha256_file
from headforge.store.images import area_resize, encode_png
from headforge.types import Prediction, Sample
from tests.methods import METHODS, MODELS
from tests.metrics.faces import FakeFaces
from tests.store.rows import sample

SIZE, SMALL = 48, 24
HAIR = {"000000": "bald", "000001": "short", "000002": "long"}
OFFSETS = {"control_tracked": 6, "control_exact": 3, "copy": 40, "reproject_tracked": 20, "reproject_exact": 15}
"""Error of each method in gray levels; PSNR = 20 log10(255 / offset)."""


def smooth_sample(subject: int, view: int) -> Sample:
    """Flat pictures in the middle of the range, so that offsets never clip and blocks average exactly."""
    found = sample(subject, view, size=SIZE, split="test")
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[8:40, 8:40] = 255
    image = np.full((SIZE, SIZE, 3), 100 + 4 * subject + view, np.uint8)
    image[:, ::2] += 10
    return dataclasses.replace(found, image=image, mask=mask, attributes={"hair": HAIR[found.subject_id]})


def prediction(truth: Sample, method: str, offset: int, size: int = SMALL, outside: int | None = None) -> Prediction:
    image = area_resize(truth.image, size) + np.uint8(offset)
    if outside is not None:
        inside = area_resize(truth.mask, size)[..., None] > 127
        image = np.where(inside, image, image - np.uint8(offset) + np.uint8(outside))
    return Prediction(truth.subject_id, truth.view, method, 0, image.astype(np.uint8))


def db(offset: float) -> float:
    return 20 * float(np.log10(255 / offset))


@dataclasses.dataclass(frozen=True)
class Run:
    root: Path

    def evaluate(self, faces: FakeFaces | None = None, perceptual: PerceptualDistance | None = None) -> dict:
        return evaluate(
            EvaluateConfig(), self.root / "synthetic", self.root / "tracked", self.root / "predictions.parquet",
            self.root / "avatars", faces, self.root / "metrics", perceptual,
            models=MODELS, methods=METHODS,
        )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Run:
    truths = [[smooth_sample(s, v) for v in range(3)] for s in range(3)]
    write_shard(tmp_path / "synthetic" / "shards" / "part-00000.parquet", truths)
    write_dataset_json(tmp_path / "synthetic", generator="test", params={}, licences={})
    methods = OFFSETS.items()
    write_predictions(
        tmp_path / "predictions.parquet",
        [prediction(t, m, o) for views in truths[:2] for t in views[1:] for m, o in methods],
    )
    for views, offset in zip(truths, (5, 10, 30), strict=True):
        folder = tmp_path / "avatars" / views[0].subject_id
        found = [
            prediction(views[2], "avatar_exact", offset, SIZE, outside=1),
            prediction(views[2], "avatar_tracked", offset + 3, SIZE, outside=1),
        ]
        write_predictions(folder / "predictions.parquet", found)
    portrait(tmp_path, "anna", 200, 180)
    portrait(tmp_path, "faceless", 200, 0)
    (tmp_path / "tracked" / "tracks.json").write_text(json.dumps({"rms_px": 0.25, "noise_floor_px": 0.24}))
    return Run(tmp_path)


def portrait(root: Path, name: str, photo: int, frontal: int) -> None:
    tracked, avatar = root / "tracked" / "portraits" / name, root / "avatars" / name
    tracked.mkdir(parents=True)
    avatar.mkdir(parents=True)
    (tracked / "photo.png").write_bytes(encode_png(np.full((64, 64, 3), photo, np.uint8)))
    (avatar / "frontal.png").write_bytes(encode_png(np.full((64, 64, 3), frontal, np.uint8)))
    (tracked / "track.json").write_text(json.dumps({"residual_eye_distance": 0.04}))


def test_heldout_numbers_and_their_gains(run: Run) -> None:
    found = run.evaluate()
    heldout, exact = found["heldout"], found["heldout_exact"]
    assert heldout["psnr_db"] == pytest.approx(db(6))
    assert heldout["l1"] == pytest.approx(6 / 255)
    assert heldout["foreground_psnr_db"] == pytest.approx(db(6))
    assert heldout["gain_over_copy_db"] == pytest.approx(db(6) - db(40))
    assert heldout["foreground_gain_over_copy_db"] == pytest.approx(db(6) - db(40))
    assert heldout["gain_over_reprojection_db"] == pytest.approx(db(6) - db(20))
    assert (heldout["n_identities"], heldout["n_views"]) == (2, 4)
    assert 0.9 < heldout["ssim"] < 1
    assert exact["psnr_db"] == pytest.approx(db(3))
    assert exact["gain_over_reprojection_db"] == pytest.approx(db(3) - db(15))


def test_avatars_are_summed_up_by_hair_and_foreground(run: Run) -> None:
    avatar = run.evaluate()["avatar"]
    assert avatar["foreground_psnr_db"] == pytest.approx((db(5) + db(10)) / 2)
    share = 32 * 32 / SIZE**2
    whole = [20 * np.log10(255 / np.sqrt(share * o * o + 1 - share)) for o in (5, 10, 30)]
    assert avatar["psnr_db"] == pytest.approx(np.mean(whole[:2]))
    assert avatar["long_hair_psnr_db"] == pytest.approx(whole[2])
    assert avatar["medium_hair_psnr_db"] is None
    assert run.evaluate()["avatar_tracked"]["foreground_psnr_db"] == pytest.approx((db(8) + db(13)) / 2)
    assert (avatar["n_subjects"], avatar["n_short_hair"], avatar["n_long_hair"]) == (3, 2, 1)


def test_portraits_have_a_distance_or_a_reason(run: Run) -> None:
    found = run.evaluate(FakeFaces())
    assert found["portrait"]["identity_distance"] == pytest.approx(20 / 255 * 128**0.5, rel=1e-5)
    assert found["portrait"]["n_faces_found"] == 1
    faceless = found["portraits"]["faceless"]
    assert faceless["identity_distance"] is None and not faceless["face_found"]
    assert "no face was found" in faceless["reason"]
    without = run.evaluate(None)["portrait"]
    assert without["identity_distance"] is None
    assert without["residual_eyes"] == pytest.approx(0.04)


def test_tracking_is_handed_on(run: Run) -> None:
    assert run.evaluate()["tracking"] == {"rms_px": 0.25, "noise_floor_px": 0.24}


def test_files_say_the_same_and_each_row_names_its_protocol(run: Run) -> None:
    found = run.evaluate(FakeFaces())
    folder = run.root / "metrics"
    assert json.loads((folder / "metrics.json").read_text()) == found
    protocols = json.loads((folder / "details" / "protocols.json").read_text())
    rows = pq.read_table(folder / "details" / "rows.parquet").to_pylist()
    assert {row["protocol"] for row in rows} <= set(protocols)
    sizes = {row["method"]: protocols[row["protocol"]]["resolution_px"] for row in rows}
    assert (sizes["copy"], sizes["avatar_tracked"]) == (SMALL, SIZE)
    masks = {row["metric"]: protocols[row["protocol"]]["mask"] for row in rows}
    assert masks["psnr_db"] == "none" and masks["foreground_psnr_db"] != "none"
    psnr = [r["value"] for r in rows if r["method"] == "control_tracked" and r["metric"] == "psnr_db"]
    assert np.mean(psnr) == pytest.approx(found["heldout"]["psnr_db"])
    table = json.loads((folder / "details" / "table.json").read_text())
    copy = next(row for row in table if row["method"] == "copy" and row["metric"] == "psnr_db")
    assert (copy["n"], copy["value"]) == (2, pytest.approx(db(40)))
    assert IDENTITY_PROTOCOL.hash in protocols


def test_two_runs_write_the_same_bytes(run: Run) -> None:
    def hashes() -> dict[str, str]:
        run.evaluate(FakeFaces())
        folder = run.root / "metrics"
        return {p.relative_to(folder).as_posix(): sha256_file(p) for p in folder.rglob("*") if p.is_file()}

    assert hashes() == hashes()


def test_missing_parts_give_null_and_never_zero(run: Run) -> None:
    (run.root / "predictions.parquet").unlink()
    (run.root / "tracked" / "tracks.json").unlink()
    found = run.evaluate()
    assert found["heldout"]["psnr_db"] is None
    assert found["heldout"]["gain_over_copy_db"] is None
    assert found["heldout"]["n_identities"] == 0
    assert found["tracking"]["rms_px"] is None


@pytest.mark.parametrize("subject_id, view", [("000009", 0), ("000001", 9)])
def test_a_prediction_of_another_dataset_is_refused(run: Run, subject_id: str, view: int) -> None:
    image = np.zeros((SMALL, SMALL, 3), np.uint8)
    write_predictions(run.root / "predictions.parquet", [Prediction(subject_id, view, "copy", 0, image)])
    with pytest.raises(DataError, match="dataset doesn't have"):
        run.evaluate()


def test_a_picture_without_foreground_has_no_foreground_metrics(run: Run) -> None:
    bare = dataclasses.replace(smooth_sample(0, 0), mask=np.zeros((SIZE, SIZE), np.uint8))
    write_shard(run.root / "synthetic" / "shards" / "part-00000.parquet", [[bare]])
    write_dataset_json(run.root / "synthetic", generator="test", params={}, licences={})
    write_predictions(run.root / "predictions.parquet", [prediction(bare, "control_tracked", 6)])
    for path in (run.root / "avatars").glob("*/predictions.parquet"):
        path.unlink()
    heldout = run.evaluate()["heldout"]
    assert heldout["psnr_db"] == pytest.approx(db(6))
    assert heldout["foreground_psnr_db"] is None


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError) as raised:
        EvaluateConfig(min_foreground_share=0.0)
    assert raised.value.key == "evaluate.min_foreground_share"


def test_a_perceptual_metric_adds_rows_under_its_own_protocol_and_changes_no_other(run: Run) -> None:
    plain = run.evaluate()
    before = pq.read_table(run.root / "metrics/details/rows.parquet").to_pylist()
    assert run.evaluate(perceptual=PerceptualMini()) == plain
    rows = pq.read_table(run.root / "metrics/details/rows.parquet").to_pylist()
    added = [row for row in rows if row["metric"] == "perceptual_mini"]
    assert [row for row in rows if row["metric"] != "perceptual_mini"] == before
    assert len(added) == sum(row["metric"] == "psnr_db" for row in rows)
    protocols = json.loads((run.root / "metrics/details/protocols.json").read_text())
    assert {(protocols[r["protocol"]]["metric"], protocols[r["protocol"]]["mask"]) for r in added} == {
        ("perceptual_mini", "none")
    }
    table = json.loads((run.root / "metrics/details/table.json").read_text())
    assert any(entry["metric"] == "perceptual_mini" for entry in table)
