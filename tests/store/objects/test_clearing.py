"""Clearing up takes what dead runs left and nothing that a live one holds."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from headforge.store.locks import hold_lock
from headforge.store.objects.clearing import (
    TEMPORARY_AGE_S,
    clear_blobs,
    clear_locks,
    clear_objects,
    clear_temporaries,
    clear_work,
    resumable_work,
)
from headforge.store.objects.store import Recipe, Store

DEAD, LIVE, RESUMABLE, DONE = (Recipe(name, 1, {}, {}, {}) for name in ("dead", "live", "resumable", "done"))


def leave_half(store: Store, recipe: Recipe) -> Path:
    folder = store.root / "work" / recipe.key / "object.x"
    folder.mkdir(parents=True)
    (folder / "half").write_bytes(b"12345")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for recipe in (DEAD, LIVE, RESUMABLE):
        leave_half(store, recipe)
    (store.work_folder(RESUMABLE) / "checkpoint").write_bytes(b"123")
    store.build(DONE, lambda folder: (folder / "file").write_bytes(b"done") and None)
    return store


def works(store: Store) -> set[str]:
    return {path.name for path in (store.root / "work").iterdir()}


def test_dead_work_goes_and_live_work_and_checkpoints_stay(store: Store) -> None:
    with hold_lock(store.lock_path(LIVE.key)):
        cleared = list(clear_work(store, dry_run=False, checkpoints=False))
        assert [item.n_bytes for item in cleared] == [5, 5]
        assert works(store) == {LIVE.key, RESUMABLE.key}
        assert resumable_work(store) == {store.root / "work" / RESUMABLE.key: 3}
        list(clear_locks(store, dry_run=False))
        assert [path.stem for path in (store.root / "locks").iterdir()] == [LIVE.key]
    list(clear_work(store, dry_run=False, checkpoints=True))
    list(clear_locks(store, dry_run=False))
    assert not works(store)
    assert not list((store.root / "locks").iterdir())
    assert store.is_intact(DONE.key)


def test_dry_run_removes_nothing(store: Store) -> None:
    blob = store.put_blob(b"photo")
    before = sorted(path for path in store.root.rglob("*") if path.suffix != ".lock")
    list(clear_work(store, dry_run=True, checkpoints=True))
    list(clear_locks(store, dry_run=True))
    assert [item.n_bytes for item in clear_objects(store, lambda _: False, dry_run=True)] == [store_bytes(store)]
    assert [item.path for item in clear_blobs(store, (), dry_run=True)] == [store.blob(blob)]
    assert sorted(path for path in store.root.rglob("*") if path.suffix != ".lock") == before


def store_bytes(store: Store) -> int:
    return sum(path.stat().st_size for path in store.object_path(DONE.key).iterdir())


def test_only_old_temporary_files_go(store: Store) -> None:
    old, new = store.root / "blobs" / ".a.x.tmp", store.root / "blobs" / ".b.x.tmp.json"
    for path in (old, new):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"1")
    os.utime(old, (time.time() - TEMPORARY_AGE_S - 1,) * 2)
    partial = store.root / ".synthetic.partial"
    partial.mkdir()
    assert [item.path for item in clear_temporaries([store.root], dry_run=False)] == [old]
    assert not old.exists() and new.exists() and partial.exists()


def test_objects_and_blobs_that_nobody_needs_go(store: Store) -> None:
    needed = Recipe("needed", 1, {}, {}, {})
    store.build(needed, lambda folder: (folder / "file").write_bytes(b"1") and None)
    photos = [store.put_blob(data) for data in (b"a", b"b")]
    gone = list(clear_objects(store, lambda manifest: manifest.key == needed.key, dry_run=False))
    assert [item.path for item in gone] == [store.object_path(DONE.key)]
    assert store.is_intact(needed.key) and not store.object_path(DONE.key).exists()
    list(clear_blobs(store, {photos[0]}, dry_run=False))
    assert [path.name for path in store.blob_paths()] == [photos[0]]


def test_object_that_is_being_repaired_stays(store: Store) -> None:
    with hold_lock(store.lock_path(DONE.key)):
        assert not list(clear_objects(store, lambda _: False, dry_run=False))
    assert store.is_intact(DONE.key)
