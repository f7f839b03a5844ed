"""Bad input ends with 2, one message and a help line, and writes nothing."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flows.cli import main
from flows.project import project as project_module
from flows.project.project import LOCKED_VARIABLE, BusyError, only_run
from flows.run.runner import run_stage
from flows.services.dvc_calls import why_not_reproduced
from flows.services.server import ServerError, prefect_server

if TYPE_CHECKING:
    from flows.run.stage_run import StageRun

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / "presets", root / "presets")
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    monkeypatch.chdir(root)
    monkeypatch.setattr("flows.services.dvc_guard.install", lambda: None)
    return root


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr().err.strip()
    assert ended.value.code == 2
    assert said.splitlines()[-1].startswith("help: ")
    assert "Traceback" not in said
    return said


def test_folder_that_is_no_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "not in a headforge project" in refusal(capsys, "run")


def test_project_without_git(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(project / ".git")
    assert "not in a git repository" in refusal(capsys, "run")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-S", "synthesize.n_subject=3"), "did you mean synthesize.n_subjects?"),
        (("-S", "synthesize.n_subjects=-1"), "-1"),
        (("-S", "synthesize.n_subjects=many"), "should be a valid integer"),
        (("--preset", "tyni"), "did you mean tiny?"),
        (("--portrait", "nowhere.jpg"), "nowhere.jpg"),
    ],
)
def test_bad_settings(project: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str) -> None:
    before = (project / "params.yaml").read_bytes()
    assert said in refusal(capsys, "run", *arguments)
    assert (project / "params.yaml").read_bytes() == before


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert "synthesise" in refusal(capsys, "synthesise")


def test_another_run_in_progress(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / ".dvc" / "tmp").mkdir()
    with (project / ".dvc" / "tmp" / "headforge.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another run is in progress" in refusal(capsys, "run")


def test_stage_started_by_dvc_while_another_run_is_in_progress(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def body(run: StageRun) -> None:
        raise AssertionError("it ran")

    with only_run(project):
        os.environ.pop(LOCKED_VARIABLE)
        with pytest.raises(SystemExit) as ended:
            run_stage("synthesize", body)
        os.environ[LOCKED_VARIABLE] = str(project)
        with only_run(project):
            pass
    assert ended.value.code == 2
    assert "another run is in progress" in capsys.readouterr().err


@pytest.mark.timeout(180)
def test_dvc_at_work_on_the_same_stage_is_named(project: Path) -> None:
    (project / ".dvc" / "tmp").mkdir()
    writers = {str(project / "data" / "synthetic"): {"pid": os.getpid(), "cmd": "dvc repro"}}
    (project / ".dvc" / "tmp" / "rwlock").write_text(json.dumps({"write": writers, "read": {}}))
    with pytest.raises(BusyError, match="a DVC command"):
        why_not_reproduced(project, "synthesize")


def test_no_space(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_module, "MIN_FREE_BYTES", 1 << 60)
    assert "free space" in refusal(capsys, "run")


def test_home_that_can_not_be_written(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "file").touch()
    monkeypatch.setenv("HEADFORGE_HOME", str(project / "file"))
    assert "can't be written" in refusal(capsys, "run")


def test_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("PREFECT_SERVER_API_PORT", str(port))
        with pytest.raises(ServerError, match=f"port {port}"), prefect_server():
            pass
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port + 1 if port < 65535 else 1}/api")
        with pytest.raises(ServerError, match="PREFECT_API_URL"), prefect_server():
            pass


def test_unexpected_error(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(request: object, folder: object) -> None:
        raise ZeroDivisionError("no such number")

    monkeypatch.setenv("HEADFORGE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("flows.cli.run_request", fail)
    with pytest.raises(SystemExit) as ended:
        main(["run", "--json"])
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert "ZeroDivisionError: no such number" in said.err
    assert "Traceback" not in said.err
    assert json.loads(said.out)["exit_code"] == 1
    assert "Traceback" in (tmp_path / "home" / "run-error.log").read_text()


def test_home_of_a_user_who_does_not_exist(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADFORGE_HOME", "~nosuchuser/x")
    assert "no such user" in refusal(capsys, "run")


def test_current_folder_that_was_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "does not exist any more" in refusal(capsys, "run")


@pytest.mark.parametrize(
    ("arguments", "codes"), [(("--help",), (0, 141)), (("inspect", "params.yaml", "--json"), (141,))]
)
def test_output_that_nobody_reads(project: Path, arguments: tuple[str, ...], codes: tuple[int, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "flows.cli", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode in codes


def test_output_to_a_full_disk(project: Path) -> None:
    command = [sys.executable, "-m", "flows.cli", "inspect", "params.yaml", "--json"]
    with Path("/dev/full").open("w") as full:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "the output can't be written: No space left on device.",
        "help: send it elsewhere.",
    ]
