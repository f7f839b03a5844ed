"""DVC notices damaged objects in its cache; without the guard it calls them up to date."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.services.dvc_guard import install
from flows.upkeep.verify import VerifyProgress, damaged_files

PIPELINE = """stages:
  make:
    cmd: {python} -c "open('out', 'w').write('good' * 100)"
    outs: [out]
    params: [seed]
"""
CACHE_SETTINGS = '[core]\n    analytics = false\n[cache]\n    type = "reflink,copy"\n'


def dvc(project: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout


@pytest.fixture(autouse=True, scope="module")
def _guarded() -> None:
    install()


def test_a_process_in_another_checkout_uses_its_own_flows(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text("print('own')\n")
    command = [sys.executable, "-c", "import flows"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "own\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(CACHE_SETTINGS)
    (tmp_path / "dvc.yaml").write_text(PIPELINE.format(python=sys.executable))
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    dvc(tmp_path, "repro")
    return tmp_path


def damage(path: Path, keep_time: bool = False) -> None:
    status = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"BAD")
    path.chmod(status.st_mode)
    if keep_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def only_object(project: Path) -> Path:
    (path,) = (project / ".dvc/cache/files/md5").glob("??/*")
    return path


@pytest.mark.parametrize("keep_time", [False, True])
def test_status_sees_damaged_cache(project: Path, keep_time: bool) -> None:
    damage(only_object(project), keep_time)
    assert "not in cache" in dvc(project, "status")


@pytest.mark.parametrize("command", [("repro",), ("repro", "--single-item", "make")])
@pytest.mark.parametrize("what", ["deleted", "damaged"])
def test_damaged_cache_is_never_checked_out(project: Path, command: tuple[str, ...], what: str) -> None:
    damage(only_object(project))
    assert damaged_files(project, VerifyProgress())
    if what == "deleted":
        (project / "out").unlink()
    else:
        damage(project / "out")
    dvc(project, *command)
    assert (project / "out").read_text() == "good" * 100
    assert not damaged_files(project, VerifyProgress())


@pytest.mark.parametrize("keep_time", [False, True])
def test_damaged_workspace_is_brought_back(project: Path, keep_time: bool) -> None:
    dvc(project, "status")
    damage(project / "out", keep_time)
    assert "modified" in dvc(project, "status")
    dvc(project, "repro")
    assert (project / "out").read_text() == "good" * 100


def test_files_that_nobody_touched_are_hashed_once(project: Path) -> None:
    """Otherwise every command would read everything again."""
    dvc(project, "status")
    script = (
        "import dvc_data.hashfile.hash as module, sys; from dvc.cli import main; hashed = [];"
        "real = module._hash_file;"
        "module._hash_file = lambda path, *a, **k: hashed.append(path) or real(path, *a, **k);"
        "main(['status']); main(['repro']); print('hashed', hashed)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "hashed []"


def test_copies_share_no_inode(project: Path) -> None:
    assert (project / "out").stat().st_ino != only_object(project).stat().st_ino
    assert not damaged_files(project, VerifyProgress())
