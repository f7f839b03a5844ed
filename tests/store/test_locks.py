"""Locks are held by one at a time, also when a lock file is cleared up meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

from headforge.store.locks import hold_free_lock, hold_lock


def test_a_free_lock_is_held_and_a_held_one_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "a.lock"
    with hold_free_lock(path) as mine:
        assert mine
        with hold_free_lock(path) as other:
            assert not other
    with hold_free_lock(path) as again:
        assert again


def test_who_waited_for_an_unlinked_lock_file_takes_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    holding, release = threading.Event(), threading.Event()

    def wait_and_hold() -> None:
        with hold_lock(path):
            holding.set()
            release.wait(30)

    waiter = threading.Thread(target=wait_and_hold)
    with hold_lock(path):
        waiter.start()
        assert not holding.wait(0.2)
        path.unlink()
    assert holding.wait(30)
    with hold_free_lock(path) as mine:
        assert not mine
    release.set()
    waiter.join()
