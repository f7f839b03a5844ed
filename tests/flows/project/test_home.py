from __future__ import annotations

import stat
from pathlib import Path

import pytest

from flows.project.project import home
from flows.upkeep.health.checks import state_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADFORGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_home_is_made_closed_to_other_users(folder: Path) -> None:
    assert mode(home()) == 0o700


def test_a_home_that_was_open_is_closed(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    assert mode(home()) == 0o700


def test_a_folder_meant_for_all_stays_and_doctor_says_so(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o1777)
    assert mode(home()) == 0o1777
    (found,) = [finding for finding in state_folder() if "chmod" in finding.fix]
    assert found.fix == f"chmod 700 {folder}"
