"""Charts: the page's colours only, the same bytes, any text."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from headforge.report import plots

CHARTS = {
    "line": lambda: plots.line_chart([plots.Series("a", [0, 1, 2], [3, 2, 1])], "x", "y"),
    "log": lambda: plots.line_chart([plots.Series("a", [0, 1], [3, 0.2]), plots.Series("b", [0, 1], [1, 1])],
                                    "x", "y", log_y=True),
    "histogram": lambda: plots.histogram({"a": [1.0, 2, 2, 3], "b": [0.0, float("nan")]}, "x"),
    "empty histogram": lambda: plots.histogram({"a": []}, "x"),
    "bars": lambda: plots.bar_chart({"<b>&$x$": 3, "two": 1}, "x"),
    "coverage": lambda: plots.coverage_chart(np.array([-60.0, 0, 60]), np.array([-30.0, 0, 45])),
    "heat map": lambda: plots.heat_map(np.array([[0, 3], [12_345, 7]]), ["<a>", "b"], ["0", "15"], "x", "y"),
    "empty heat map": lambda: plots.heat_map(np.zeros((0, 0)), [], [], "x", "y"),
    "scatter": lambda: plots.scatter_chart({"a": ([1, 2], [3, 4])}, "x", "y"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHARTS)
def test_chart_is_plain_svg_in_the_pages_colours(name: str) -> None:
    svg = CHARTS[name]()
    ElementTree.fromstring(svg)
    assert not re.search(r"#0000\d\d|#ffffff|#[1-9a-f][0-9a-f]{5}", svg)
    assert not re.search(r"<metadata|<script|(?:href|src)=\"(?!#)", svg)
    assert not re.search(r"20\d\d-\d\d", svg)


def test_same_data_same_bytes() -> None:
    assert all(make() == make() for make in CHARTS.values())


def test_text_is_taken_literally() -> None:
    assert "&lt;b&gt;&amp;$x$" in CHARTS["bars"]()


def test_a_heat_map_says_its_numbers_row_by_row() -> None:
    svg = CHARTS["heat map"]()
    found = [text for text in re.findall(r">([^<>]+)</text>", svg) if text in ("0", "3", "12k", "7")]
    assert found[-4:] == ["0", "3", "12k", "7"]
    assert "&lt;a&gt;" in svg


def test_a_logarithmic_axis_has_plain_numbers() -> None:
    svg = CHARTS["log"]()
    assert "mathdefault" not in svg
    assert ">0.5<" in svg


def test_one_outlier_does_not_squeeze_the_histogram() -> None:
    values = [*np.linspace(0, 1, 1000), 1e6]
    assert "000000" not in re.sub(r'id="[^"]*"|#\w+', "", plots.histogram({"a": values}, "x"))
