"""SQLite databases of other programs: created and migrated under another name, checked, then renamed.

Those programs migrate in place: after a kill in the middle the database can't be opened again. They are not imported
here; the revision that they expect is read from their migration files.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from pathlib import Path
from urllib.parse import quote

from flows.project.project import home
from headforge.errors import HeadforgeError
from headforge.store.files import fsync_file, fsync_folder

BUSY_TIMEOUT_S = 10.0
CHECKED_BYTES = 64 << 20
"""Larger databases are not read through before each run, which would take seconds."""
COMPANIONS = ("-wal", "-shm", "-journal", "")
"""Ends of the names of a database's files; its own comes last, for the others mean nothing without it."""
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
MAKING = ".making-"


class RecorderError(HeadforgeError):
    """A recorder's database can't be made or used; runs go on without it."""


@dataclass(frozen=True)
class Schema:
    """What a program's database has to look like."""

    program: str
    package: str
    migrations: str
    """Folder of its migrations (Alembic's) in the package."""


MLFLOW = Schema("MLflow", "mlflow", "store/db_migrations/versions")
PREFECT = Schema("Prefect", "prefect", "server/database/_migrations/versions/sqlite")


class State(Enum):
    """What can be done with a database."""

    MISSING = "missing"
    READY = "ready"
    OLDER = "older"
    """Of an earlier version of the program: it can be migrated."""
    BROKEN = "broken"
    """Nothing can be done with it."""
    UNUSABLE = "unusable"
    """The disk or the rights to it are to blame, not the database."""


@dataclass(frozen=True)
class Condition:
    """How a database was found."""

    state: State
    found: str = ""
    """Why it is not ready."""


@cache
def revisions(schema: Schema) -> tuple[str, frozenset[str]]:
    """Return the revision that the installed program expects, and all that it knows."""
    spec = importlib.util.find_spec(schema.package)
    folders = spec.submodule_search_locations if spec is not None else None
    known: set[str] = set()
    passed: set[str] = set()
    for folder in folders or ():
        for path in (Path(folder) / schema.migrations).glob("*.py"):
            text = path.read_text()
            known |= _assigned("revision", text)
            passed |= _assigned("down_revision", text)
    heads = known - passed
    if len(heads) != 1:
        raise RecorderError(
            f"the migrations of {schema.program} end in {len(heads)} revisions, not in one.",
            f"{sys.executable} -m pip install -c constraints.txt --force-reinstall {schema.package}",
        )
    return heads.pop(), frozenset(known)


def _assigned(name: str, text: str) -> set[str]:
    found = re.search(rf"^{name}\s*(?::[^=\n]*)?=\s*(\([^)]*\)|[^\n]*)", text, re.MULTILINE)
    return set(re.findall(r"[\"']([^\"']+)[\"']", found[1])) if found else set()


def examine(path: Path, schema: Schema, *, thorough: bool = False) -> Condition:
    """Open a database and say what can be done with it; a large one is read through only if asked to be `thorough`."""
    if path.is_dir():
        return Condition(State.BROKEN, "a folder stands in its place")
    try:
        if not path.exists():
            return Condition(State.MISSING)
        thorough = thorough or path.stat().st_size <= CHECKED_BYTES
        with opened(path) as database:
            return _condition(database, schema, thorough=thorough)
    except OSError as error:
        return Condition(State.UNUSABLE, error.strerror or str(error))
    except sqlite3.Error as error:
        code = error_code(error)
        if code in BUSY:
            return Condition(State.READY)
        return Condition(State.BROKEN if code in DAMAGE else State.UNUSABLE, str(error))


def _condition(database: sqlite3.Connection, schema: Schema, *, thorough: bool) -> Condition:
    head, known = revisions(schema)
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    found = []
    if "alembic_version" in tables:
        found = [revision for (revision,) in database.execute("SELECT version_num FROM alembic_version")]
    if thorough:
        (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            return Condition(State.BROKEN, f"it is damaged: {said.splitlines()[-1]}")
    if len(found) != 1:
        return Condition(State.BROKEN, "it was never finished" if not found else f"it has {len(found)} revisions")
    if found[0] not in known:
        return Condition(State.BROKEN, f"another version of {schema.program} made it (schema {found[0]})")
    database.execute("BEGIN IMMEDIATE")  # fails if it can't be written
    database.rollback()
    if found[0] != head:
        return Condition(State.OLDER, f"its schema is {found[0]}, {schema.program} wants {head}")
    return Condition(State.READY)


def error_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary code of an error; 0 if it has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextlib.contextmanager
def opened(path: Path, mode: str = "rw") -> Iterator[sqlite3.Connection]:
    """Open a connection that is closed at the end of the block; the path may have any character."""
    uri = f"file:{quote(str(path))}?mode={mode}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as database:
        yield database


def prepare(path: Path, schema: Schema, migrate: Callable[[Path], None], say: Callable[[str], None]) -> bool:
    """Bring a database to what the installed program expects; whether anything had to be done.

    `migrate` makes a file one, or migrates the one that is there. It works on a copy, which takes the place of the
    database when it is complete. A database with which nothing can be done is put aside, and `say` is told. The caller
    holds a lock. Raises RecorderError if no database can be made.
    """
    condition = examine(path, schema)
    if condition.state == State.READY:
        return False
    try:
        if condition.state == State.UNUSABLE:
            raise OSError(condition.found)
        path.parent.mkdir(parents=True, exist_ok=True)
        if condition.state == State.OLDER:
            try:
                _make(path, schema, migrate)
                return True
            except Exception as error:  # a half-made one has an earlier revision, too
                condition = Condition(State.BROKEN, f"{condition.found}, and it can't be migrated: {reason(error)}")
        if condition.state == State.BROKEN:
            put_aside(path, schema, condition.found, say)
        _make(path, schema, migrate)
    except Exception as error:
        raise RecorderError(
            f"the database of {schema.program}, {path}, can't be used: {reason(error)}.",
            f"look at the disk and the rights of {path.parent}; 'headforge doctor' says more.",
        ) from error
    return True


def put_aside(path: Path, schema: Schema, why: str, say: Callable[[str], None]) -> Path:
    """Give a database and the files that belong to it a name with the date; returns it."""
    stamp = datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")
    names = (path.with_name(f"{path.stem}-{stamp}{f'-{n}' * bool(n)}{path.suffix}") for n in itertools.count())
    aside = next(name for name in names if not any(_companion(name, end).exists() for end in COMPANIONS))
    for end in COMPANIONS:
        with contextlib.suppress(FileNotFoundError):
            _companion(path, end).rename(_companion(aside, end))
    fsync_folder(path.parent)
    say(
        f"the database of {schema.program}, {path}, can't be used: {why}. It is kept as {aside.name}; a new one takes "
        "its place, and the run goes on.\n"
        f"help: delete {aside.name} if you don't miss what it recorded; {schema.program} may read it once it is mended."
    )
    return aside


def _make(path: Path, schema: Schema, migrate: Callable[[Path], None]) -> None:
    for left_over in path.parent.glob(f"{MAKING}{path.stem}-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{MAKING}{path.stem}-", dir=path.parent) as folder:
        new = Path(folder) / path.name
        if path.exists():
            with opened(path) as old, opened(new, "rwc") as copy:
                old.backup(copy)
        migrate(new)
        with opened(new) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        condition = examine(new, schema, thorough=True)
        if condition.state != State.READY:
            raise OSError(condition.found or "nothing was made")
        fsync_file(new)
        for end in COMPANIONS[:-1]:  # of the old one, whose content is in the copy
            _companion(path, end).unlink(missing_ok=True)
        new.replace(path)
        fsync_folder(path.parent)


def _companion(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, without SQL and without a full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def mlflow_path() -> Path:
    """Return the path of this machine's MLflow database."""
    return home() / "mlflow" / "mlflow.db"


def to_stderr(text: str) -> None:
    """Tell the person."""
    print(text, file=sys.stderr, flush=True)
