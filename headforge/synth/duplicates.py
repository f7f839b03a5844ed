"""Near-duplicate identities: mark people who are too similar to an earlier one, in the same split or another.

A person's marks depend only on earlier people, so a dataset that grows keeps its marks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headforge.errors import ShapeError
from headforge.store.dataset.identities import MARK_KINDS, Identity, Mark

BLOCK = 512
"""People compared with all earlier ones at once: 40 MB of distances for 10,000 people."""
ROUNDING = 1e-6
"""Relative error of squared distances from a matrix product; candidates within it are measured again."""


def find_marks(identities: Sequence[Identity], limit: float, since: int = 0) -> list[Mark]:
    """Return marks of the people whose Euclidean distance to an earlier one is below `limit`, in order.

    Each person gets at most one mark of a kind, for the nearest earlier person; ties go to the first. Earlier means a
    smaller subject id. People with an empty vector are skipped. Only people from index `since` on, in the order of
    their ids, are compared: the marks of the others are already known.
    """
    ordered = sorted(identities, key=lambda one: one.subject_id)
    n_known = len([one for one in ordered[:since] if len(one.vector)])
    people = [one for one in ordered if len(one.vector)]
    vectors = _stacked(people)
    splits = np.array([one.split for one in people])
    squares = (vectors**2).sum(-1)
    marks: list[Mark] = []
    for start in range(n_known, len(people), BLOCK):
        stop = min(start + BLOCK, len(people))
        squared = squares[start:stop, None] + squares[:stop] - 2 * vectors[start:stop] @ vectors[:stop].T
        slack = ROUNDING * (squares[start:stop, None] + squares[:stop])
        near = np.tril(squared <= limit**2 + slack, k=start - 1)
        for row in np.flatnonzero(near.any(-1)):
            marks += _marks_of(people, vectors, splits, start + int(row), np.flatnonzero(near[row]), limit)
    return marks


def find_marks_pairwise(identities: Sequence[Identity], limit: float) -> list[Mark]:
    """Return what `find_marks` returns, computed pair by pair."""
    people = sorted((one for one in identities if len(one.vector)), key=lambda one: one.subject_id)
    marks: list[Mark] = []
    for i, person in enumerate(people):
        for kind in MARK_KINDS:
            nearest: Mark | None = None
            for other in people[:i]:
                if (other.split == person.split) != (kind == "duplicate"):
                    continue
                distance = float(np.linalg.norm(person.vector.astype(np.float64) - other.vector.astype(np.float64)))
                if distance < limit and (nearest is None or distance < nearest.distance):
                    nearest = Mark(person.subject_id, kind, other.subject_id, distance)
            if nearest is not None:
                marks.append(nearest)
    return marks


def _marks_of(
    people: Sequence[Identity], vectors: np.ndarray, splits: np.ndarray, index: int, others: np.ndarray, limit: float
) -> list[Mark]:
    """Return the marks of one person, given the indices of the candidates."""
    distances = np.array([np.linalg.norm(vectors[index] - vectors[other]) for other in others])
    marks = []
    for kind in MARK_KINDS:
        fits = ((splits[others] == splits[index]) == (kind == "duplicate")) & (distances < limit)
        if fits.any():
            best = int(np.where(fits, distances, np.inf).argmin())
            other = people[int(others[best])].subject_id
            marks.append(Mark(people[index].subject_id, kind, other, float(distances[best])))
    return marks


def _stacked(people: Sequence[Identity]) -> np.ndarray:
    """Return the vectors as [N, D] float64."""
    lengths = {len(one.vector) for one in people}
    if len(lengths) > 1:
        raise ShapeError("Identity.vector", f"[{min(lengths)}] for all people", (max(lengths),))
    return np.array([one.vector for one in people], dtype=np.float64).reshape(len(people), max(lengths, default=0))
