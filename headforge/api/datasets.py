"""Datasets."""

from __future__ import annotations

from pathlib import Path

from headforge.api.folders import require_kind
from headforge.store.dataset.shards import Dataset


def open_dataset(folder: str | Path, *, skip_marked: bool = False) -> Dataset:
    """Open a dataset folder, such as data/synthetic.

    `dataset[0]` is its first view, `len(dataset)` the number of views, `dataset.subject_ids("test")` the people of a
    split, `dataset.sample(subject_id, view)` one view and `dataset.samples(subject_id)` all views of one person, each a
    `Sample`. Pictures are decoded when they are asked for. `skip_marked` leaves out near-duplicate identities.

    Raises InputError if the folder is not a dataset, DataError if a part of it is missing or damaged.
    """
    return Dataset(require_kind(folder, "dataset"), skip_marked)
