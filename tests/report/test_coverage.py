"""The coverage section, and the page about a dataset alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from headforge.errors import DataError
from headforge.report.blocks import Chart, Charts, Folded, Grid, Note
from headforge.report.dataset_page import build_dataset_page
from headforge.report.inputs import read_run
from headforge.report.sections.coverage import coverage_charts, coverage_section, filled, group_grid, marks_block
from headforge.store.dataset.coverage import Cell, write_coverage
from headforge.store.dataset.identities import MARKS_FILE, read_identities, write_marks
from headforge.store.dataset.shards import Dataset, write_dataset_json, write_shard
from headforge.store.dataset.tables import Reject, write_rejects
from tests.report.fabricated import N_SUBJECTS, N_VIEWS, fabricate_run
from tests.report.test_page import assert_self_contained

CELLS = [
    Cell(-15, 0, "smile", 0, "train", 3),
    Cell(0, 0, "smile", 0, "test", 2),
    Cell(0, -15, "neutral", 2, "train", 1),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fabricate_run(tmp_path_factory.mktemp("run"))["dataset"]


def test_combinations_are_counted_once_over_the_splits() -> None:
    assert filled(CELLS).startswith("3 of the 12 combinations of 3 directions, 2 expressions and 2 groups")
    assert filled([CELLS[1], Cell(0, 0, "smile", 0, "train", 1)]).startswith("1 of the 1 combinations")


def test_heat_maps_hold_every_view() -> None:
    (charts,) = coverage_charts(CELLS)
    assert isinstance(charts, Charts)
    for chart in charts.charts:
        texts = [int(text) for text in _texts(chart) if text.isdigit()]
        assert {3, 2, 1, 0} & set(texts)
    by_direction = [text for text in _texts(charts.charts[0]) if text not in ("yaw from (°)", "pitch from (°)")]
    assert by_direction[-4:] == ["3", "2", "0", "1"], "elevations from above, azimuths from the left"


def test_a_full_turn_is_set_one_under_the_other() -> None:
    turn = [Cell(yaw, 0, "smile", 0, "train", 1) for yaw in range(-180, 180, 15)]
    assert [type(block) for block in coverage_charts(turn)] == [Chart] * 3


def _texts(chart: Chart) -> list[str]:
    return [part.split("</text>")[0].rpartition(">")[2] for part in chart.svg.split("<text")[1:]]


def test_groups_show_their_own_people(folder: Path) -> None:
    dataset = Dataset(folder)
    grid = group_grid(dataset, read_identities(folder / "identities.parquet"))
    shown = [[cell.note for cell in row.cells if cell is not None] for row in grid.rows]
    assert shown == [["000000", "000002"], ["000001", "000003"]]
    assert grid.rows[0].label == "0 · 2 people: light skin, short hair"


def test_marked_people_stand_beside_those_they_are_like(folder: Path, tmp_path: Path) -> None:
    block = marks_block(Dataset(folder))
    assert isinstance(block, Folded) and "1 person" in block.summary and "duplicate: 1" in block.summary
    (grid,) = block.blocks
    assert isinstance(grid, Grid)
    assert [cell.note for cell in grid.rows[0].cells if cell is not None] == ["000003", "000001"]
    assert "0.125" in grid.rows[0].label
    copied = tmp_path / "dataset"
    shutil.copytree(folder, copied)
    write_marks(copied / MARKS_FILE, [])
    assert isinstance(marks_block(Dataset(copied)), Note)
    (copied / MARKS_FILE).unlink()
    missing = marks_block(Dataset(copied))
    assert isinstance(missing, Note) and missing.kind == "missing"


def test_a_dataset_without_the_table_says_so(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "dataset"
    shutil.copytree(folder, copied)
    (copied / "coverage.parquet").unlink()
    (note,) = coverage_section(read_run(copied, None, None, None, None)).blocks
    assert isinstance(note, Note) and note.kind == "missing"


def test_the_page_about_a_dataset_alone(folder: Path, tmp_path: Path) -> None:
    index = build_dataset_page(folder, 3, tmp_path / "a")
    html = index.read_text(encoding="utf-8")
    assert_self_contained(html)
    assert f"{N_SUBJECTS} people (2 test, 2 train)" in html and f"{N_SUBJECTS * N_VIEWS} views" in html
    assert '<section id="dataset">' in html and '<section id="coverage">' in html
    assert 'class="note missing"' not in html
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert build_dataset_page(tmp_path / "elsewhere", 3, tmp_path / "b").read_bytes() == index.read_bytes()


def test_a_dataset_without_views_still_has_a_page(tmp_path: Path) -> None:
    write_shard(tmp_path / "shards" / "part-00000.parquet", [])
    write_rejects(tmp_path / "rejects.parquet", [Reject("000000/0", "blur", "the sharpness is 0.10", 0.1)])
    write_coverage(tmp_path / "coverage.parquet", [])
    write_dataset_json(tmp_path, generator="test", params={}, licences={}, n_rejected=1)
    html = build_dataset_page(tmp_path, 3, tmp_path / "page").read_text(encoding="utf-8")
    assert_self_contained(html)
    assert "No view passed the quality gates." in html and "the sharpness is 0.10" in html


def test_no_dataset_no_page(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        build_dataset_page(tmp_path, 3, tmp_path / "page")
