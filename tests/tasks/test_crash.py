"""Killed at any moment, run again: the same objects, none made twice after it was published."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from headforge.store.files import sha256_file
from headforge.store.objects.manifest import MANIFEST
from headforge.store.objects.store import Store
from tests.tasks.crash_driver import recipe

ROOT = Path(__file__).parents[2]
N_ITEMS = 16
SECONDS_OF_WORK = 0.45


def start(store: Store, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.tasks.crash_driver", str(store.root), str(log), str(N_ITEMS)]
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True)


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def kill(driver: subprocess.Popen[bytes], victim: str, choice: random.Random) -> None:
    if victim == "group":
        os.killpg(driver.pid, signal.SIGKILL)
    else:
        workers = children(driver.pid)
        pid = choice.choice(workers) if victim == "worker" and workers else driver.pid
        os.kill(pid, signal.SIGKILL)


def published(store: Store) -> dict[str, tuple[int, int]]:
    """Inode and time of every object's manifest: another one if it was made again."""
    status = {path.name: (path / MANIFEST).stat() for path in store.object_paths()}
    return {key: (found.st_ino, found.st_mtime_ns) for key, found in status.items()}


def contents(store: Store) -> dict[str, str]:
    files = (path for folder in store.object_paths() for path in folder.rglob("part-*"))
    return {path.relative_to(store.root).as_posix(): sha256_file(path) for path in files}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert start(Store(folder / "store"), folder / "log").wait(60) == 0
    return contents(Store(folder / "store"))


@pytest.mark.parametrize(("victim", "seed"), [("driver", 0), ("worker", 1), ("group", 2), ("group", 3)])
def test_killed_and_run_again(tmp_path: Path, undisturbed: dict[str, str], victim: str, seed: int) -> None:
    choice = random.Random(seed)
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    driver = start(store, log)
    while not log.exists():
        assert driver.poll() is None
        time.sleep(0.005)
    time.sleep(choice.uniform(0, SECONDS_OF_WORK))
    kill(driver, victim, choice)
    driver.wait(60)
    before = published(store)
    assert start(store, log).wait(60) == 0
    after = published(store)
    assert {key: after[key] for key in before} == before, "made again although it was published"
    assert len(after) == N_ITEMS
    assert contents(store) == undisturbed
    assert store.verify() == []
    assert not [path for path in (store.root / "work").iterdir() if path.name not in before], "work left over"


def test_two_drivers_build_everything_once(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    drivers = [start(store, log) for _ in range(2)]
    assert [driver.wait(60) for driver in drivers] == [0, 0]
    assert Counter(log.read_text().split()) == {str(number): 1 for number in range(N_ITEMS)}
    assert contents(store) == undisturbed
    assert {path.name for path in store.object_paths()} == {recipe(number).key for number in range(N_ITEMS)}
