"""Parts of the page one by one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from headforge.report.blocks import Folded, Note, Table
from headforge.report.inputs import Run, read_run
from headforge.report.sections import avatars, dataset, models, tracking
from headforge.report.sections.lineage import lineage_section, shown_value
from headforge.report.sections.metrics import headline_cards
from headforge.store.dataset.shards import Dataset
from headforge.types import Prediction
from tests.methods import METHODS, MODELS
from tests.report.fabricated import N_VIEWS, fabricate_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return read_run(**fabricate_run(tmp_path_factory.mktemp("run")), trained=MODELS, fitted=METHODS)


def opened(run: Run) -> Dataset:
    assert run.dataset is not None
    return run.dataset


def test_contact_sheet_shows_the_most_frontal_views_evenly(run: Run) -> None:
    sheet = dataset.contact_sheet(opened(run), 2)
    assert [item.note for item in sheet.items] == ["000000", "000002"]
    assert dataset.most_frontal(opened(run), "000001") == 2


def test_one_subject_is_held_out_and_sorted_by_yaw(run: Run) -> None:
    gallery = dataset.one_subject(opened(run))
    assert len(gallery.items) == N_VIEWS
    assert gallery.items[0].note == "-30° -8°"


def test_attributes_with_one_value_are_not_charted(run: Run) -> None:
    assert dataset.attribute_counts(opened(run)) == {"hair": {"short": 3, "long": 1}}


@pytest.mark.parametrize(("n", "expected"), [(2, [0, 5]), (3, [0, 3, 6]), (10, list(range(10))), (20, list(range(10)))])
def test_spread(n: int, expected: list[int]) -> None:
    assert dataset.spread(list(range(10)), n) == expected


def test_comparison_rows_are_different_people_and_columns_in_order(run: Run) -> None:
    grid = models.comparison_grid(opened(run), run.predictions, MODELS[0], 2, {})
    assert grid.columns == (
        "reference", "output, tracked", "output, exact", "truth", "copy", "reprojection, tracked",
    )  # fmt: skip
    assert [row.label for row in grid.rows] == ["000001 · 1", "000003 · 2"]
    assert all(cell is not None for row in grid.rows for cell in row.cells)


def test_a_method_without_a_picture_leaves_a_hole(run: Run) -> None:
    fewer = [p for p in run.predictions if (p.subject_id, p.method) != ("000003", "copy")]
    grid = models.comparison_grid(opened(run), fewer, MODELS[0], 2, {})
    assert grid.rows[1].cells[grid.columns.index("copy")] is None


def test_the_psnr_of_an_exact_picture_is_that_of_its_own_truth(run: Run) -> None:
    sample = opened(run).sample("000001", 2)
    exact = Prediction("000001", 2, "avatar_tracked", -1, sample.image)
    row = avatars.subject_row(opened(run), "000001", [exact], 2)
    assert row.cells[1] is not None
    assert row.cells[1].note == "exact"
    assert row.cells[2] is not None
    assert (row.cells[2].image == 255).all()
    assert row.cells[3:] == (None, None, None)


def test_avatar_rows_prefer_tracked_parameters(run: Run) -> None:
    chosen = avatars.subject_predictions(opened(run), run.subject_avatars()[0], 3)
    assert {p.method for p in chosen} == {"avatar_tracked"}


def test_training_curve_from_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [{"n_images_seen": i, "loss": 1.0 / i, "name": "x", "heldout_psnr_db": 20 + i} for i in range(1, 9)]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    log = models.read_log(path)
    assert "name" not in log[0]
    assert [c.caption for c in models.training_charts(log)] == ["Training: loss", "Training: PSNR (dB)"]


def test_tracking_errors_are_zero_for_exact_tracks(run: Run) -> None:
    assert run.head is not None
    pairs = tracking.compared_pairs(run, opened(run), 100)
    assert len(pairs) == 2 * N_VIEWS - 1
    errors = tracking.tracking_errors(run.head, pairs)
    assert np.abs(errors["head direction (°)"]).max() < 0.1
    assert np.abs(errors["identity (RMS of coefficients)"]).max() == 0
    assert errors["expression (RMS of coefficients)"].min() > 0.01
    assert errors["face vertices in the picture (px)"].min() > 0


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/home/me/x.jpg", "…/x.jpg"),
        ("C:\\Users\\me\\x.jpg", "…/x.jpg"),
        ("a/b", "a/b"),
        ("/", "/"),
        (True, "yes"),
        ((1, 2.5, "/tmp/a"), "1, 2.5, …/a"),
        (None, "None"),
    ],
)
def test_lineage_values(value: object, shown: str) -> None:
    assert shown_value(value) == shown


def test_lineage_leaves_out_when_and_where() -> None:
    lineage: Mapping[str, object] = {"run_id": "x", "stage": {"key": "k", "finished": 3, "sub": {"time": 1, "n": 2}}}
    blocks = lineage_section(lineage).blocks
    tables = [b for block in blocks for b in (block.blocks if isinstance(block, Folded) else (block,))]
    rows = [row for table in tables if isinstance(table, Table) for row in table.rows]
    assert rows == [("key", "k"), ("sub.n", "2")]
    assert isinstance(lineage_section({}).blocks[0], Note)


def test_cards_show_the_baseline_and_leave_out_what_was_not_measured() -> None:
    cards = headline_cards(
        {"heldout.psnr_db": 23.08, "heldout.copy_psnr_db": 17.28, "avatar.psnr_db": None}, MODELS, METHODS
    ).cards
    assert [card.label for card in cards] == ["Control model, PSNR"]
    assert cards[0].value == "23.08"
    assert dict(cards[0].baselines)["copy"] == "17.28 dB"


@pytest.mark.parametrize("generator", ["builtin", "spherehead"])
def test_only_the_builtin_generator_is_said_to_know_head_parameters(generator: str) -> None:
    made = cast("Dataset", SimpleNamespace(description={"generator": generator}))
    assert ("exact" in dataset.described(made)) == (generator == "builtin")
    assert ("spherehead" in dataset.described(made)) == (generator == "spherehead")
