"""Counting views by direction, expression, group and split."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from headforge.flame.builtin.head import builtin_head
from headforge.store.dataset.coverage import Cell, read_coverage, write_coverage
from headforge.synth.coverage import add_cells, bin_of, count_views, expression_class
from headforge.types import HeadParams, Sample
from tests.heads import tiny_head
from tests.synth.test_identities import views

HEAD = builtin_head()


def face(jaw_rad: float = 0.0, **values: float) -> HeadParams:
    expr = torch.tensor([values.get(name, 0.1) for name in HEAD.expression_names])
    return HEAD.neutral().replace(expr=expr, jaw=torch.tensor([jaw_rad, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("angle_deg", "low_deg"), [(0, 0), (14.9, 0), (15, 15), (-0.1, -15), (-15, -15), (179, 165), (-180, -180)]
)
def test_bins_hold_their_lower_edge(angle_deg: float, low_deg: int) -> None:
    assert bin_of(angle_deg) == low_deg


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (face(), "neutral"),
        (face(smile=1.0, brow_up=0.6), "smile"),
        (face(smile_left=0.8), "smile"),
        (face(brow_down=0.9), "frown"),
        (face(mouth_pucker=0.9), "lips"),
        (face(eyes_wide=0.7), "raised brows"),
        (face(smile=1.0, blink_left=1.0, blink_right=1.0), "eyes shut"),
        (face(blink_left=1.0), "neutral"),
        (face(0.3, smile=1.0), "mouth open"),
    ],
)
def test_expressions_by_what_they_show_most(params: HeadParams, expected: str) -> None:
    assert expression_class(HEAD, params) == expected


def test_heads_without_names_are_told_by_strength() -> None:
    head = tiny_head()
    nameless = dataclasses.replace(head, expression_names=())
    strong = head.neutral().replace(expr=torch.ones(head.n_expr))
    assert expression_class(nameless, head.neutral()) == "neutral"
    assert expression_class(nameless, strong) == "expressive"


def posed(*yaws_deg: float) -> list[Sample]:
    return [dataclasses.replace(sample, params=face()) for sample in views(*yaws_deg)]


def test_views_are_counted_and_parts_add_up_whatever_the_order() -> None:
    one, other = count_views(HEAD, posed(0.0, 3.0, 20.0), 1), count_views(HEAD, posed(1.0), 2)
    assert one == [Cell(0, 0, "neutral", 1, "test", 2), Cell(15, 0, "neutral", 1, "test", 1)]
    assert add_cells([one, other, one]) == add_cells([other, one, one])
    assert sum(cell.n_views for cell in add_cells([one, other, one])) == 7
    assert add_cells([one, one])[0].n_views == 4 and add_cells([]) == []


def test_counts_survive_a_round_trip(tmp_path: Path) -> None:
    cells = count_views(HEAD, posed(0.0, -20.0), 3)
    write_coverage(tmp_path / "coverage.parquet", cells)
    assert read_coverage(tmp_path / "coverage.parquet") == cells
    write_coverage(tmp_path / "empty.parquet", [])
    assert read_coverage(tmp_path / "empty.parquet") == []
