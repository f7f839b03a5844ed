"""Sheets: sizes, places, labels."""

from __future__ import annotations

import numpy as np
import pytest

from headforge.report.blocks import Grid, GridRow, Picture
from headforge.report.sheets import SheetStyle, contact_sheet, fit_into, labelled_grid

STYLE = SheetStyle(cell=20, gap=4, font_size=10)


def flat(value: int, height: int = 20, width: int = 20) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_contact_sheet_geometry() -> None:
    sheet = contact_sheet([flat(10 * i) for i in range(5)], columns=3, style=STYLE)
    assert sheet.shape == (4 + 2 * 24, 4 + 3 * 24, 3)
    for index in range(5):
        x, y = 4 + index % 3 * 24, 4 + index // 3 * 24
        assert (sheet[y : y + 20, x : x + 20] == 10 * index).all()
        assert (sheet[y - 4 : y, x : x + 20] == 255).all()
    assert (sheet[28:48, 52:72] == 255).all()


def test_labels_are_below_their_picture_and_inside_its_width() -> None:
    plain = contact_sheet([flat(0)], columns=1, style=STYLE)
    labelled = contact_sheet([flat(0)], ["a label that is far too long"], columns=1, style=STYLE)
    assert labelled.shape[0] == plain.shape[0] + 16
    label = labelled[24:40]
    assert (label < 200).any()
    assert (label[:, :2] == 255).all()
    assert (label[:, -2:] == 255).all()


@pytest.mark.parametrize(("height", "width"), [(10, 20), (20, 10), (7, 40), (5, 5)])
def test_a_picture_keeps_its_aspect(height: int, width: int) -> None:
    fitted = fit_into(flat(9, height, width), 20)
    assert max(fitted.shape[:2]) == 20
    assert abs(fitted.shape[0] / fitted.shape[1] - height / width) < 0.06 * height / width + 0.05


def test_grid_has_margins_for_titles_and_labels() -> None:
    picture = Picture(flat(0), "black", "1.0 dB")
    grid = Grid(("one", "two"), (GridRow("row", (picture, None)), GridRow("row", (None, picture))))
    sheet = labelled_grid(grid, STYLE)
    assert sheet.shape[0] == 4 + 16 + 2 * (20 + 4 + 16)
    black = (sheet == 0).all(-1)
    assert black.sum() >= 2 * 400
    left = sheet.shape[1] - 2 * 24
    assert black[20:40, left : left + 20].all()
    assert black[60:80, left + 24 : left + 44].all()
    assert not black[20:40, left + 24 :].any()


def test_empty_sheets_are_pictures() -> None:
    assert contact_sheet([], style=STYLE).shape[2] == 3
    assert labelled_grid(Grid(("a",), ()), STYLE).shape[2] == 3


def test_same_bytes() -> None:
    grid = Grid(("one",), (GridRow("label", (Picture(flat(7), "x", "note"),)),))
    assert (labelled_grid(grid, STYLE) == labelled_grid(grid, STYLE)).all()
