"""Batches are a function of (seed, images seen)."""

from __future__ import annotations

import pytest
import torch

from headforge.diffusion.training.batches import Batch, BatchMaker
from headforge.errors import ConfigError

ROWS = {f"{s}": list(range(10 * s, 10 * s + 6)) for s in range(7)}
FRONTAL = {s: rows[:2] for s, rows in ROWS.items()}


def maker(seed: int = 0, rows: dict[str, list[int]] | None = None) -> BatchMaker:
    return BatchMaker(seed, rows or ROWS, FRONTAL, n_references=3, n_targets=4, latent_shape=(2, 4, 4))


def equal(a: Batch, b: Batch) -> bool:
    names = ("references", "targets", "steps", "noise")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


def test_a_batch_depends_on_seed_and_images_seen_only() -> None:
    first = maker()
    for seen in (0, 12, 24):
        first.batch(seen)
    torch.manual_seed(99)
    assert equal(first.batch(36), maker().batch(36))
    assert not equal(first.batch(36), first.batch(48))
    assert not equal(first.batch(36), maker(seed=1).batch(36))


def test_targets_are_other_views_of_the_references_subject() -> None:
    for seen in range(0, 240, 12):
        batch = maker().batch(seen)
        for r, reference in enumerate(batch.references.tolist()):
            targets = batch.targets[4 * r : 4 * r + 4].tolist()
            assert reference % 10 < 2
            assert all(t // 10 == reference // 10 and t != reference for t in targets)
            assert len(set(targets)) == 4


def test_every_identity_comes_once_an_epoch() -> None:
    seen = [int(r) // 10 for i in range(7) for r in maker().batch(12 * i).references]
    epochs = [seen[i : i + 7] for i in range(0, 21, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_identities_that_cannot_serve_are_left_out() -> None:
    rows = {**ROWS, "alone": [99]}
    seen = {int(r) for i in range(10) for r in maker(rows=rows).batch(12 * i).references}
    assert 99 not in seen
    with pytest.raises(ConfigError):
        BatchMaker(0, {"alone": [1]}, {"alone": [1]}, 1, 1, (1, 1, 1))
