from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from headforge.errors import DataError
from headforge.store.dataset.identities import (
    MARKS_FILE,
    Identity,
    Mark,
    read_identities,
    read_marks,
    write_identities,
    write_marks,
)
from headforge.store.dataset.shards import Dataset, write_dataset_json, write_shard
from tests.store.rows import subjects

MARKS = [Mark("000001", "duplicate", "000000", 0.125), Mark("000003", "leak", "000002", 0.0)]


def test_people_survive_a_round_trip(tmp_path: Path) -> None:
    people = [
        Identity("000000", "train", 2, np.array([0.5, -1.25], np.float32)),
        Identity("000001", "test", 0, np.zeros(0, np.float32)),
    ]
    write_identities(tmp_path / "people.parquet", people)
    for found, expected in zip(read_identities(tmp_path / "people.parquet"), people, strict=True):
        assert (found.subject_id, found.split, found.cluster) == (expected.subject_id, expected.split, expected.cluster)
        np.testing.assert_array_equal(found.vector, expected.vector)


def test_marks_survive_a_round_trip(tmp_path: Path) -> None:
    write_marks(tmp_path / MARKS_FILE, MARKS)
    assert read_marks(tmp_path / MARKS_FILE) == MARKS
    write_marks(tmp_path / MARKS_FILE, [])
    assert read_marks(tmp_path / MARKS_FILE) == []


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for part, ids in enumerate((range(0, 3), range(3, 5))):
        write_shard(tmp_path / "shards" / f"part-{part:05d}.parquet", subjects(ids))
    write_dataset_json(tmp_path, generator="builtin", params={}, licences={})
    return tmp_path


def test_marked_people_can_be_left_out(dataset: Path) -> None:
    write_marks(dataset / MARKS_FILE, MARKS)
    kept = Dataset(dataset, skip_marked=True)
    assert Dataset(dataset).subject_ids() == [f"{i:06d}" for i in range(5)]
    assert kept.subject_ids() == ["000000", "000002", "000004"]
    assert set(kept.parameters().subject_ids) == set(kept.subject_ids())
    assert [s.subject_id for s in kept.samples("000004")] == ["000004"] * 3
    with pytest.raises(DataError):
        kept.samples("000003")
    again = pickle.loads(pickle.dumps(kept))
    assert again.subject_ids() == kept.subject_ids()


def test_without_marks_nobody_is_left_out(dataset: Path) -> None:
    write_marks(dataset / MARKS_FILE, [])
    assert len(Dataset(dataset, skip_marked=True).parameters()) == 15


def test_marks_that_are_missing_are_not_taken_for_none(dataset: Path) -> None:
    with pytest.raises(DataError) as caught:
        Dataset(dataset, skip_marked=True).subject_ids()
    assert MARKS_FILE in caught.value.message
