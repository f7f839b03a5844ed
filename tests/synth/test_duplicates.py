"""Near-duplicate identities: the fast pass against the readable one, growth, splits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headforge.errors import ShapeError
from headforge.store.dataset.identities import Identity, Mark
from headforge.synth import duplicates
from headforge.synth.duplicates import find_marks, find_marks_pairwise

LIMIT = 0.25


def people(n: int, seed: int = 0, dimensions: int = 6, spread: float = 1.0) -> list[Identity]:
    """Vectors so short that some lie within the limit of each other."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, spread / np.sqrt(dimensions), (n, dimensions)).astype(np.float32)
    splits = np.where(rng.random(n) < 0.3, "test", "train")
    return [Identity(f"{i:06d}", str(split), 0, v) for i, (split, v) in enumerate(zip(splits, vectors, strict=True))]


@given(seed=st.integers(0, 10**6), n=st.integers(0, 40), block=st.integers(1, 50), spread=st.floats(0.05, 1.0))
@settings(max_examples=60, deadline=None)
def test_the_fast_pass_finds_what_the_readable_one_finds(seed: int, n: int, block: int, spread: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "BLOCK", block)
        assert find_marks(people(n, seed, 4, spread), LIMIT) == find_marks_pairwise(people(n, seed, 4, spread), LIMIT)


def test_there_are_marks_of_both_kinds_to_compare() -> None:
    marks = find_marks(people(200, 1, 4, 0.6), LIMIT)
    assert {mark.kind for mark in marks} == {"duplicate", "leak"}
    assert marks == find_marks_pairwise(people(200, 1, 4, 0.6), LIMIT)


def test_a_copy_is_marked_against_the_earlier_one_whatever_the_order() -> None:
    everyone = people(30, 2, 40)
    copy = dataclasses.replace(everyone[7], subject_id="000020")
    everyone[20] = copy
    assert find_marks(everyone, LIMIT) == [Mark("000020", "duplicate", "000007", 0.0)]
    assert find_marks(everyone[::-1], LIMIT) == find_marks(everyone, LIMIT)


def test_a_copy_in_another_split_is_a_leak() -> None:
    first, second = people(2, 3)
    first, second = dataclasses.replace(first, split="train"), dataclasses.replace(second, split="test")
    near = dataclasses.replace(second, vector=first.vector + np.float32(0.01))
    (mark,) = find_marks([first, near], LIMIT)
    assert (mark.subject_id, mark.kind, mark.other_id) == ("000001", "leak", "000000")
    assert mark.distance == pytest.approx(0.01 * np.sqrt(6), rel=1e-3)


def test_of_equally_near_ones_the_first_counts_and_both_kinds_are_told() -> None:
    one = people(1)[0]
    everyone = [dataclasses.replace(one, subject_id=f"{i:06d}", split=split)
                for i, split in enumerate(("train", "test", "train", "train"))]  # fmt: skip
    found = [(m.subject_id, m.kind, m.other_id) for m in find_marks(everyone, LIMIT)]
    assert found == [
        ("000001", "leak", "000000"),
        ("000002", "duplicate", "000000"),
        ("000002", "leak", "000001"),
        ("000003", "duplicate", "000000"),
        ("000003", "leak", "000001"),
    ]


@given(seed=st.integers(0, 1000), n=st.integers(1, 60))
@settings(max_examples=20, deadline=None)
def test_a_dataset_that_doubles_keeps_its_marks(seed: int, n: int) -> None:
    everyone = people(2 * n, seed, 3, 0.6)
    before, after = find_marks(everyone[:n], LIMIT), find_marks(everyone, LIMIT)
    assert after[: len(before)] == before
    assert all(int(mark.subject_id) >= n for mark in after[len(before) :])
    assert before + find_marks(everyone, LIMIT, since=n) == after


def test_people_without_a_vector_are_left_out() -> None:
    everyone = people(40, 5, 3, 0.6)
    without = [dataclasses.replace(p, vector=np.zeros(0, np.float32)) if i % 5 == 0 else p
               for i, p in enumerate(everyone)]  # fmt: skip
    marks = find_marks(without, LIMIT)
    assert marks == find_marks([p for p in without if len(p.vector)], LIMIT)
    assert marks and find_marks(without, LIMIT, since=20) == [m for m in marks if int(m.subject_id) >= 20]


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(ShapeError):
        find_marks([people(1)[0], people(1, dimensions=3)[0]], LIMIT)
