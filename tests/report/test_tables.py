"""Tables: unlike protocols never share a column, n and protocol are always there."""

from __future__ import annotations

import pytest

from headforge.report.tables import (
    ABSENT,
    MetricRow,
    UnlikeProtocolsError,
    comparison_table,
    comparison_tables,
    flatten,
    format_value,
    metric_title,
)

ROWS = (
    MetricRow("psnr_db", "control_tracked", 23.456, 40, "aaaaaaaaaaaa"),
    MetricRow("psnr_db", "copy", 17.1, 40, "aaaaaaaaaaaa"),
    MetricRow("ssim", "control_tracked", 0.70612, 40, "bbbbbbbbbbbb"),
    MetricRow("ssim", "copy", None, 39, "bbbbbbbbbbbb"),
)


def test_methods_down_metrics_across_with_n_and_protocol() -> None:
    table = comparison_table(ROWS, "Results")
    assert table.columns == ("method", "PSNR (dB)", "SSIM", "n")
    assert table.rows[0] == ("control tracked", "23.46", "0.7061", "40")
    assert table.rows[1] == ("copy", "17.10", ABSENT, "39 to 40")
    assert table.rows[2] == ("protocol", "aaaaaaaa", "bbbbbbbb", "")


def test_unlike_protocols_are_refused() -> None:
    rows = (*ROWS, MetricRow("psnr_db", "other", 30.0, 12, "cccccccccccc"))
    with pytest.raises(UnlikeProtocolsError) as caught:
        comparison_table(rows, "Results")
    assert caught.value.metric == "psnr_db"
    assert caught.value.protocols == ("aaaaaaaaaaaa", "cccccccccccc")
    assert str(caught.value).splitlines()[-1].startswith("help: ")


def test_unlike_protocols_get_their_own_table() -> None:
    rows = (*ROWS, MetricRow("psnr_db", "other", 30.0, 12, "cccccccccccc"))
    first, second = comparison_tables(rows, "Results")
    assert [row[0] for row in first.rows] == ["control tracked", "copy", "protocol"]
    assert [row[0] for row in second.rows] == ["other", "protocol"]
    assert "not comparable" in second.caption


def test_subsets_are_rows_of_their_own() -> None:
    long_hair = MetricRow("psnr_db", "copy", 15.0, 8, "aaaaaaaaaaaa", "long hair")
    assert [row[0] for row in comparison_table((*ROWS, long_hair), "").rows][:3] == [
        "control tracked", "copy", "copy · long hair",
    ]  # fmt: skip


def test_formats() -> None:
    assert format_value("psnr_db", 31.256) == "31.26"
    assert format_value("n_identities", 40.0) == "40"
    assert format_value("identity_distance", 0.41234) == "0.4123"
    assert metric_title("gain_over_copy_db") == "gain over copy (dB)"
    assert metric_title("rms_px") == "RMS (px)"


def test_flatten_has_dotted_names_in_order() -> None:
    assert flatten({"b": {"y": 1, "x": {"z": 2}}, "a": 3}) == [("a", 3), ("b.x.z", 2), ("b.y", 1)]
