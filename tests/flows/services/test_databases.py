"""Databases of other programs: whole or not there, and one that is broken stands in nobody's way."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.services import prefect_database
from flows.services.databases import MLFLOW, PREFECT, RecorderError, Schema, State, examine, opened, prepare, revisions
from flows.services.prefect_database import prepared_database
from flows.services.server import database, prefect_server


class Program:
    """One with two revisions, which makes its database in two steps."""

    def __init__(self, folder: Path) -> None:
        migrations = folder / "headforge_recorder" / "versions"
        migrations.mkdir(parents=True)
        (migrations.parent / "__init__.py").touch()
        (migrations / "one.py").write_text('revision = "one"\ndown_revision = None\n')
        (migrations / "two.py").write_text('revision: str = "two"\ndown_revision: str | None = "one"\n')
        self.schema = Schema("Recorder", "headforge_recorder", "versions")
        self.said: list[str] = []
        self.ends_at = "two"

    def migrate(self, path: Path) -> None:
        with opened(path, "rwc") as there:
            there.execute("PRAGMA journal_mode = WAL")
            tables = {name for (name,) in there.execute("SELECT name FROM sqlite_master")}
            if "alembic_version" not in tables:
                there.execute("CREATE TABLE runs (name)")
                there.execute("CREATE TABLE alembic_version (version_num)")
                there.execute("INSERT INTO alembic_version VALUES ('one')")
            if self.ends_at == "one":
                raise OSError("no space left on the device")
            there.execute("ALTER TABLE runs ADD COLUMN score")
            there.execute("UPDATE alembic_version SET version_num = 'two'")

    def prepare(self, path: Path) -> bool:
        return prepare(path, self.schema, self.migrate, self.said.append)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.syspath_prepend(str(tmp_path))
    revisions.cache_clear()
    return Program(tmp_path)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """In a folder whose name means something to URLs, SQL and shells."""
    return tmp_path / "a?b#c%20d'e\" f" / "some.db"


def asides(path: Path) -> list[Path]:
    return sorted(item for item in path.parent.iterdir() if item.name.startswith(f"{path.stem}-"))


def names(path: Path) -> list[str]:
    return sorted(item.name for item in path.parent.iterdir())


def test_what_is_expected_is_what_the_programs_say() -> None:
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_latest_schema_revision
    from prefect.server.database.orm_models import AioSqliteORMConfiguration

    assert revisions(MLFLOW)[0] == _get_latest_schema_revision()
    folder = AioSqliteORMConfiguration().versions_dir
    assert [revisions(PREFECT)[0]] == ScriptDirectory(str(folder), version_locations=[str(folder)]).get_heads()


def test_made_whole_in_any_folder(program: Program, place: Path) -> None:
    assert examine(place, program.schema).state == State.MISSING
    assert program.prepare(place)
    assert names(place) == ["some.db"]
    assert examine(place, program.schema).state == State.READY
    assert not program.prepare(place)
    assert program.said == []


def test_one_that_could_not_be_made_leaves_nothing(program: Program, place: Path) -> None:
    program.ends_at = "one"
    with pytest.raises(RecorderError, match="no space left"):
        program.prepare(place)
    assert names(place) == []
    (place.parent / f".making-{place.stem}-killed").mkdir()
    program.ends_at = "two"
    assert program.prepare(place)
    assert names(place) == ["some.db"]


def test_an_older_one_is_migrated_and_keeps_what_it_has(program: Program, place: Path) -> None:
    program.prepare(place)
    with opened(place) as there:
        there.execute("ALTER TABLE runs DROP COLUMN score")
        there.execute("UPDATE alembic_version SET version_num = 'one'")
        there.execute("INSERT INTO runs VALUES ('kept')")
        assert examine(place, program.schema).state == State.OLDER
        assert program.prepare(place)  # while what was written last is in a -wal
    with opened(place) as there:
        assert there.execute("SELECT * FROM runs").fetchall() == [("kept", None)]
    assert names(place) == ["some.db"]
    assert program.said == []


@pytest.mark.parametrize("what", ["truncated", "text", "empty", "half-made", "another version's", "folder", "inside"])
def test_a_broken_one_is_put_aside_whole(program: Program, place: Path, what: str) -> None:
    program.prepare(place)
    if what == "truncated":
        place.write_bytes(place.read_bytes()[:5000])
    elif what == "text":
        place.write_text("not a database at all, but long enough to have a header that says so")
    elif what == "empty":
        place.write_bytes(b"")
    elif what == "folder":
        place.unlink()
        place.mkdir()
    elif what == "inside":
        with opened(place) as there:
            there.executemany("INSERT INTO runs VALUES (?, 0)", [("x" * 3000,)] * 40)
        data = bytearray(place.read_bytes())
        data[4096 * 4 : 4096 * 20] = b"?" * 4096 * 16
        place.write_bytes(data)
    else:
        with opened(place) as there:
            revision = "one" if what == "half-made" else "ninety"
            there.execute(f"UPDATE alembic_version SET version_num = '{revision}'")
    place.with_name("some.db-wal").write_bytes(b"")
    before = place.read_bytes() if place.is_file() else None
    assert program.prepare(place)
    assert examine(place, program.schema).state == State.READY
    aside = next(item for item in asides(place) if item.suffix == ".db")
    assert before is None or aside.read_bytes()[100:] == before[100:]  # SQLite counts in the header
    assert not place.with_name("some.db-wal").exists()
    (said,) = program.said
    assert str(place) in said
    assert aside.name in said
    assert "\nhelp: " in said


def test_names_of_two_put_aside_in_one_second_differ(program: Program, place: Path) -> None:
    for _ in range(2):
        place.parent.mkdir(exist_ok=True)
        place.write_text("no database")
        program.prepare(place)
    assert len([item for item in asides(place) if item.suffix == ".db"]) == 2


def test_the_disk_is_not_the_databases_fault(program: Program, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program.prepare(place)

    def fail(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("flows.services.databases.sqlite3.connect", fail)
        assert examine(place, program.schema).state == State.UNUSABLE
        with pytest.raises(RecorderError, match="disk I/O error"):
            program.prepare(place)
    assert examine(place, program.schema).state == State.READY
    assert program.said == []


def test_one_that_another_process_writes_to_is_left_alone(
    program: Program, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.services.databases.BUSY_TIMEOUT_S", 0.1)
    program.prepare(place)
    with opened(place) as there:
        there.execute("BEGIN EXCLUSIVE")
        assert not program.prepare(place)
        there.rollback()


@pytest.mark.parametrize("delay_s", [0.0, 0.4, 1.2])
def test_kill_while_prefects_database_is_made(delay_s: float) -> None:
    code = (
        "from flows.services.prefect_database import prepared_database\n"
        "from flows.services.server import database\n"
        "database().parent.mkdir(); prepared_database(database())"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 20
    while not list(database().parent.glob(".making-*/*.db")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay_s)
    process.kill()
    process.wait()
    assert examine(database(), PREFECT).state in (State.MISSING, State.READY)


def test_a_server_starts_in_place_of_a_broken_database(capfd: pytest.CaptureFixture[str]) -> None:
    database().parent.mkdir()
    database().write_bytes(b"SQLite format 3\0" + bytes(1000))
    with prefect_server() as url:
        assert url
    assert capfd.readouterr().err.count("is kept as prefect-") == 1
    assert len([item for item in asides(database()) if item.suffix == ".db"]) == 1
    assert examine(database(), PREFECT).state == State.READY


def test_what_prefect_can_not_migrate_is_put_aside(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    database().parent.mkdir()
    database().with_name("memo_store.toml").touch()
    with opened(database(), "rwc") as there:
        there.execute("CREATE TABLE flow_run (id)")
        there.execute("CREATE TABLE alembic_version (version_num)")
        there.execute("INSERT INTO alembic_version VALUES ('9725c1cbee35')")  # Prefect's first
    assert prepared_database(database()) == database()
    assert capfd.readouterr().err.count("can't be migrated") == 1
    assert not database().with_name("memo_store.toml").exists()
    assert examine(database(), PREFECT).state == State.READY


def test_prefect_without_a_place_for_its_database(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path) -> None:
        raise OSError("no space left on the device")

    monkeypatch.setattr(prefect_database, "_migrate", full)
    database().parent.mkdir()
    path = prepared_database(database())
    assert path.parent.is_dir()
    assert path.parent != database().parent
    assert not database().exists()
    with contextlib.suppress(OSError):
        path.parent.rmdir()
    said = capfd.readouterr().err
    assert "no space left on the device" in said
    assert said.count("help: ") == 1
