"""Reading what `evaluate` wrote, by the stage itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from headforge.errors import DataError
from headforge.metrics.config import EvaluateConfig
from headforge.metrics.evaluate import evaluate
from headforge.report.metric_files import MetricSet, read_metrics
from headforge.report.sections.metrics import avatar_tables, headline_cards, metrics_section, protocol_table
from headforge.report.tables import comparison_table
from tests.methods import METHODS, MODELS
from tests.report.fabricated import PORTRAIT, fabricate_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folders = fabricate_run(tmp_path_factory.mktemp("run"))
    predictions = folders["metrics"] / "details" / "predictions.parquet"
    track = folders["tracked"] / "portraits" / PORTRAIT / "track.json"
    track.write_text(json.dumps({"residual_eye_distance": 0.05}))
    evaluate(
        EvaluateConfig(), folders["dataset"], folders["tracked"], predictions, folders["avatars"], None,
        folders["metrics"], models=MODELS, methods=METHODS,
    )  # fmt: skip
    return folders


@pytest.fixture(scope="module")
def metrics(run: Mapping[str, Path]) -> MetricSet:
    return read_metrics(run["metrics"], [MODELS[0].label], [METHODS[0].label])


def test_headline_is_numbers_only(metrics: MetricSet) -> None:
    assert metrics.headline["heldout.psnr_db"] is not None
    assert metrics.headline["tracking.rms_px"] == 0.2
    assert all(v is None or isinstance(v, int | float) for v in metrics.headline.values())
    assert not any(name.startswith("portraits.") for name in metrics.headline)


def test_groups_are_ordered_and_their_tables_have_like_protocols(metrics: MetricSet) -> None:
    assert next(iter(metrics.groups)) == "Held-out people"
    for title, rows in metrics.groups.items():
        comparison_table(rows, title)
    table = comparison_table(metrics.groups["Held-out people"], "")
    assert [row[0] for row in table.rows] == [
        "control tracked", "control exact", "copy", "reproject tracked", "protocol",
    ]  # fmt: skip
    assert table.columns[1:4] == ("PSNR (dB)", "SSIM", "L1")


def test_avatars_by_hair_tracked_and_exact(metrics: MetricSet) -> None:
    (table,) = avatar_tables(metrics, METHODS[0])
    assert [row[0] for row in table.rows] == [
        "avatar tracked · short hair", "avatar tracked · long hair",
        "avatar exact · short hair", "avatar exact · long hair", "protocol",
    ]  # fmt: skip


def test_every_protocol_is_spelled_out(metrics: MetricSet) -> None:
    used = {row.protocol for rows in metrics.groups.values() for row in rows}
    assert used <= set(metrics.protocols)
    table = protocol_table(metrics.protocols)
    assert len(table.rows) == len(metrics.protocols)
    assert {"protocol", "metric", "mask", "resolution px"} <= set(table.columns)


def test_cards_carry_baselines(metrics: MetricSet) -> None:
    cards = {card.label: card for card in headline_cards(metrics.headline, MODELS, METHODS).cards}
    assert set(cards) == {"Control model, PSNR", "Control model, SSIM", "Avatars, PSNR", "Tracking, residual"}
    assert [name for name, _ in cards["Control model, PSNR"].baselines] == ["copy", "reprojection", "exact parameters"]
    assert cards["Control model, PSNR"].detail == "2 people the model has never seen"


def test_a_portrait_without_distance_says_why(metrics: MetricSet) -> None:
    assert metrics.likeness[PORTRAIT].startswith("no identity distance: no face embedding")
    assert "5.0 %" in metrics.likeness[PORTRAIT]


def test_published_values_are_apart(metrics: MetricSet) -> None:
    *_, published = metrics_section(metrics).blocks
    assert getattr(published, "summary", "") == "Published values, not comparable"


def test_no_metrics_are_an_empty_set(tmp_path: Path) -> None:
    assert read_metrics(None) == read_metrics(tmp_path) == MetricSet()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(DataError, match=r"metrics\.json is not readable JSON"):
        read_metrics(tmp_path)
