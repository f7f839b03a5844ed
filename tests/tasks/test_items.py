"""What a worker does with an item's folder."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from headforge.errors import StoreError
from headforge.progress import SILENT, Progress
from headforge.store.files import sha256_file
from tasks.environment import made_with
from tasks.items import BEGUN_FILE, LostWorkerError, make_files
from tests.tasks import jobs


def test_worker_says_what_it_left(tmp_path: Path) -> None:
    files, environment = make_files(jobs.write_text, ("a",), (tmp_path,), SILENT)
    assert environment == made_with()
    assert {name: entry.sha256 for name, entry in files.items()} == {"text": sha256_file(tmp_path / "text")}


def test_lost_call_is_not_started_again_in_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / BEGUN_FILE).touch()
    with pytest.raises(LostWorkerError):
        make_files(jobs.write_text, ("a",), (tmp_path,), SILENT)
    assert not (tmp_path / "text").exists()


def test_folder_that_the_worker_does_not_see(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not see the folder") as caught:
        make_files(jobs.write_text, ("a",), (tmp_path / "elsewhere",), SILENT)
    assert "share" in caught.value.help


def test_full_disk_is_a_store_error(tmp_path: Path) -> None:
    def fill_up(folder: Path, progress: Progress) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "x"))

    with pytest.raises(StoreError, match="No space left"):
        make_files(fill_up, (), (tmp_path,), SILENT)
