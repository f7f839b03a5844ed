"""What the progress line says of a stage at given times."""

from __future__ import annotations

import pytest

from flows.run.progress.counting import RATE_WINDOW_S, Counts


@pytest.fixture
def counts() -> Counts:
    counts = Counts("shards", 0.0)
    counts.add([("a", 10, "subject"), ("b", 10, "subject"), ("c", 4, "subject")])
    return counts


def test_total_is_the_whole_stage_before_anything_begins(counts: Counts) -> None:
    assert counts.line(1.0) == "0/3 shards, 0/24 subjects"


def test_rate_and_time_left_leave_out_what_was_found(counts: Counts) -> None:
    counts.end("a", True, 0.0)
    counts.begin("b")
    counts.start("b", 10, "subject")
    counts.done("b", 1, 1.0)
    counts.done("b", 1, 2.0)
    counts.rejected("b")
    assert counts.line(2.0) == ("1/3 shards, 1 found in the store, 12/24 subjects, 1 subjects/s, 0:12 left, 1 rejected")
    counts.end("b", False, 4.0)
    counts.end("c", True, 4.0)
    assert (counts.share, counts.n_made, counts.n_hits) == (1.0, 1, 2)
    assert counts.rate(4.0) == pytest.approx(10 / 4)


def test_another_attempt_starts_again_from_nothing(counts: Counts) -> None:
    counts.begin("a")
    counts.done("a", 7, 1.0)
    counts.rejected("a")
    counts.begin("a")
    counts.done("a", 1, 2.0)
    assert (counts.n_done, counts.n_rejected) == (1, 0)
    assert counts.rate(2.0) == pytest.approx(0.5)


def test_failed_item_leaves_nothing_to_do(counts: Counts) -> None:
    counts.begin("a")
    counts.done("a", 4, 1.0)
    counts.fail("a")
    assert counts.line(2.0) == "1/3 shards, 4/18 subjects, 2 subjects/s, 0:07 left, 1 failed"


def test_rate_is_that_of_the_last_minute() -> None:
    counts = Counts("models", 0.0)
    counts.add([("model", None, "")])
    counts.start("model", 10_000, "image")
    for second in range(1, 101):
        counts.done("model", 50, float(second))
    for second in range(101, 201):
        counts.done("model", 10, float(second))
    assert counts.rate(200.0) == pytest.approx(10)
    assert counts.rate(200.0 + RATE_WINDOW_S / 2) == pytest.approx(5, rel=0.05)
    assert counts.line(200.0) == "0/1 models, 6000/10000 images, 10 images/s, 6:40 left"


def test_total_is_left_out_while_an_item_has_not_said_its_own() -> None:
    counts = Counts("sets of pictures", 0.0)
    counts.add([("a", None, ""), ("b", None, "")])
    assert counts.line(0.0) == "0/2 sets of pictures"
    counts.start("a", 8, "image")
    counts.done("a", 4, 1.0)
    assert counts.line(1.0) == "0/2 sets of pictures, 4 images, 4 images/s"
    counts.start("b", 8, "image")
    assert counts.line(1.0) == "0/2 sets of pictures, 4/16 images, 4 images/s, 0:03 left"
