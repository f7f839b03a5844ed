"""What MLflow does not take never reaches the run, and is recorded later if that is possible."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.project.project import PARENT_RUN_VARIABLE, home
from flows.run.stage_record import StageRecord
from flows.services import records
from flows.services.databases import MLFLOW, State, examine, mlflow_path, opened
from flows.services.records import RunRecord, connect, end_dead_records
from headforge.errors import HeadforgeError
from tests.flows.services.test_databases import asides

CONNECT = "from flows.services.records import connect; print('go', flush=True); connect()"
TINY_BYTES = 3 << 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with nothing in it, which takes a second to make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADFORGE_HOME", str(tmp_path_factory.mktemp("made")))
        connect()
        return mlflow_path()


@pytest.fixture
def ready(made: Path) -> Path:
    """A copy of it in this test's home."""
    mlflow_path().parent.mkdir()
    shutil.copyfile(made, mlflow_path())
    return mlflow_path()


@pytest.fixture
def tiny_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home on a disk of some MiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TINY_BYTES}", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can make a small disk")
    monkeypatch.setenv("HEADFORGE_HOME", str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"no database" * 400)


def messages(capfd: pytest.CaptureFixture[str]) -> list[str]:
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err
    return [line for line in said.err.splitlines() if line.startswith("help: ")]


@pytest.mark.parametrize("delay_s", [0.0, 0.2, 0.5, 1.0])
def test_kill_while_the_database_is_made(delay_s: float, capfd: pytest.CaptureFixture[str]) -> None:
    process = subprocess.Popen([sys.executable, "-c", CONNECT], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"go\n"
    folder = home() / "mlflow"
    deadline = time.monotonic() + 20
    while not list(folder.rglob("mlflow.db")) and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(delay_s)
    process.kill()
    process.wait()
    assert examine(mlflow_path(), MLFLOW).state in (State.MISSING, State.READY)
    with RunRecord("again", Path(), {}) as record:
        assert record.run_id
    assert messages(capfd) == []
    assert [path.name for path in folder.iterdir() if path.name.startswith(".making")] == []


def test_two_processes_at_once() -> None:
    processes = [subprocess.Popen([sys.executable, "-c", CONNECT], stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert asides(mlflow_path()) == []


@pytest.mark.parametrize("what", ["half-made", "truncated", "another version's", "without a table"])
def test_a_broken_database_is_put_aside(ready: Path, what: str, capfd: pytest.CaptureFixture[str]) -> None:
    if what == "half-made":  # as a kill in the middle of its migrations left it
        ready.unlink()
        with opened(ready, "rwc") as there:
            there.execute("CREATE TABLE experiments (experiment_id INTEGER)")
            there.execute("CREATE TABLE alembic_version (version_num)")
    elif what == "truncated":
        ready.write_bytes(ready.read_bytes()[:10_000])
    else:
        with opened(ready) as there:
            there.execute(
                "UPDATE alembic_version SET version_num = 'ffffffffffff'"
                if "version" in what
                else "DROP TABLE experiment_tags"
            )
    with RunRecord("a", Path(), {"x": 1}) as record:
        record.succeed()
    assert connect()[0].get_run(record.run_id).info.status == "FINISHED"
    assert len([item for item in asides(ready) if item.suffix == ".db"]) == 1
    assert len(messages(capfd)) == 1


def test_a_database_of_an_earlier_version_is_migrated(ready: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with RunRecord("kept", Path(), {}) as record:
        record.succeed()
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config

    with sqlite3.connect(ready) as there:
        (before,) = there.execute("SELECT version_num FROM alembic_version").fetchone()
    command.downgrade(_get_alembic_config(f"sqlite:///{ready}"), "-1")
    assert examine(ready, MLFLOW).state == State.OLDER
    client, _ = connect()
    assert client.get_run(record.run_id).info.run_name == "kept"
    with sqlite3.connect(ready) as there:
        assert there.execute("SELECT version_num FROM alembic_version").fetchone() == (before,)
    assert messages(capfd) == []


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b", "a'b\"c", "a b;c&d=e"])
def test_home_and_project_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    root = tmp_path / name / "project"
    (root / "model").mkdir(parents=True)
    for path in ("page.html", "model/weights"):
        (root / path).write_text(path)
    monkeypatch.setenv("HEADFORGE_HOME", str(tmp_path / name / "home"))
    monkeypatch.chdir(root)
    for number in range(2):
        with RunRecord(f"run {name}", root, {"place": str(root)}) as record:
            record.figures([root / "page.html"], root)
            record.register_model("control", root / "model")
            record.succeed()
        client, _ = connect()
        run = client.get_run(record.run_id)
        assert (run.info.status, run.data.params["place"]) == ("FINISHED", str(root))
        assert (
            client.get_model_version_by_alias(f"{records.MODEL_PREFIX}control", records.MODEL_ALIAS).version
            == number + 1
        )
    assert mlflow_path().is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["home", "project"]
    assert sorted(path.name for path in root.iterdir()) == ["model", "page.html"]
    copies = (mlflow_path().parent / "artifacts").rglob("*")
    assert [path.name for path in copies if path.is_file()].count("page.html") == 2


def test_a_recorder_that_fails_is_said_once_and_made_good_for(
    ready: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(records, "connect", full)
        record = RunRecord("a", Path(), {"x": 1})
        record.tags({"colour": "red"})
        record.metrics([("loss", 0.5, 3)])
        record.succeed()
        assert record.run_id == ""
    record.__exit__(None, None, None)
    run = connect()[0].get_run(record.run_id)
    assert (run.info.status, run.data.params["x"], run.data.tags["colour"]) == ("FINISHED", "1", "red")
    assert run.data.metrics == {"loss": 0.5}
    assert run.info.start_time <= run.info.end_time
    assert len(messages(capfd)) == 1


def test_a_recorder_that_never_works(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    (home() / "mlflow").write_text("a file stands where the folder belongs")
    with RunRecord("a", Path(), {"x": 1}) as record:
        record.outputs(Path(), ("synthesize",))
        record.register_model("control", Path("nowhere"))
        record.succeed()
    assert record.run_id == ""
    assert end_dead_records() == 0
    said = capfd.readouterr().err
    assert said.count("MLflow does not take the record of 'a'") == 1
    assert said.count("\nhelp: ") == 2  # and one of `reap`
    assert "Traceback" not in said


def test_what_mlflow_refuses_costs_nothing_else(ready: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with RunRecord("a", Path(), {}) as record:
        record.figures([Path("no such picture")], Path())
        record.tag("a name that MLflow does not take: \n", "x")
        record.tag("colour", "red")
        record.succeed()
    run = connect()[0].get_run(record.run_id)
    assert (run.info.status, run.data.tags["colour"]) == ("FINISHED", "red")
    assert len(messages(capfd)) == 1


def test_a_database_damaged_during_the_run(ready: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with RunRecord("a", Path(), {"x": 1}) as record:
        first = record.run_id
        damage(ready)
        record.tag("colour", "red")
        record.succeed()
    assert record.run_id not in ("", first)
    run = connect()[0].get_run(record.run_id)
    assert (run.info.status, run.data.params, run.data.tags["colour"]) == ("FINISHED", {"x": "1"}, "red")
    assert len(messages(capfd)) == 2  # of the record, and of the database that is put aside


def test_full_disk(tiny_home: Path, made: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mlflow_path().parent.mkdir()
    shutil.copyfile(made, mlflow_path())
    filler = tiny_home / "filler"
    with RunRecord("a", Path(), {"x": 1}) as record:
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
        for number in range(4):
            record.tags({f"tag {number} {n}": "x" * 400 for n in range(100)})
        filler.unlink()
        record.succeed()
    run = connect()[0].get_run(record.run_id)
    assert run.info.status == "FINISHED"
    assert sum(name.startswith("tag ") for name in run.data.tags) == 400
    assert len(messages(capfd)) == 1
    assert asides(mlflow_path()) == []


def test_full_disk_from_the_start(tiny_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tiny_home / "filler").write_bytes(bytes(TINY_BYTES - 300_000))
    with RunRecord("a", Path(), {"x": 1}) as record:
        record.succeed()
    assert record.run_id == ""
    assert len(messages(capfd)) == 1
    assert list(mlflow_path().parent.iterdir()) == []


@pytest.mark.parametrize("error", [HeadforgeError("the stage", "so"), KeyboardInterrupt()])
def test_what_the_work_raises_comes_through(ready: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, RunRecord("a", Path(), {}) as record:
        raise error
    assert raised.value is error
    status = connect()[0].get_run(record.run_id).info.status
    assert status == ("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")


def test_an_interruption_of_the_recorder_comes_through(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(records, "connect", interrupted)
    with pytest.raises(KeyboardInterrupt):
        RunRecord("a", Path(), {"x": 1})


def test_a_stage_says_nothing_that_its_run_has_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (home() / "mlflow").write_text("a file stands where the folder belongs")
    said: list[str] = []
    StageRecord("track", tmp_path, {"x": 1}, said.append)
    assert len(said) == 1
    monkeypatch.setenv(PARENT_RUN_VARIABLE, "")
    StageRecord("track", tmp_path, {"x": 1}, said.append)
    assert len(said) == 1
