"""What `headforge doctor` looks at: each check is a function that returns findings with the fix for what is wrong."""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from flows.project.project import MIN_FREE_BYTES, home
from flows.services.databases import MLFLOW, PREFECT, State, examine, mlflow_path
from flows.services.dvc_calls import changed_stages
from flows.services.dvc_guard import START_FILE
from flows.services.server import database
from headforge.errors import HeadforgeError
from headforge.guarded import read_toml

OK, INFO, LIMIT, BAD = "ok", "info", "limit", "bad"
"""As it should be; worth knowing; works, but not as well as it could or not as tested; does not work."""
TRAPS = {
    "prefect": "flows and server are tested with exactly this version",
    "fastapi": "the server of Prefect 3.8.8 stops on 0.155 and later",
    "SQLAlchemy": "with 2.1 the schedules of Prefect 3.8.8 silently never fire",
}
"""Packages whose wrong version stops something, and what."""
EXTRAS = {"mlops": BAD, "diffusion": LIMIT, "photos": LIMIT, "video": LIMIT}
"""What it means that an extra is missing which the chain uses; others add to it."""
BOUNDS = ("prefect==3.8.8", "fastapi>=0.139,<0.151", "sqlalchemy>=2.0,<2.1")
"""The same bounds as in pyproject.toml; a test compares them."""
CLOCK_TOLERANCE_S = 2.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    level: str
    """ok, info, limit or bad."""
    found: str
    fix: str = ""
    """What to do about it; empty if it is ok."""


def python_and_packages(root: Path | None) -> Iterator[Finding]:
    """Versions: those that are known to break something, then all that differ from constraints.txt."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", OK, f"{python}, {sys.executable}")
    for text in BOUNDS:
        bound = Requirement(text)
        yield from _bounded(bound, next(name for name in TRAPS if name.lower() == bound.name))
    constraints = root / "constraints.txt" if root is not None else None
    if constraints is None or not constraints.is_file():
        yield Finding("constraints", INFO, "no constraints.txt to compare with", "run it in a clone of headforge.")
        return
    others = differing_versions(constraints.read_text())
    if others:
        names = ", ".join(f"{name} {found} (tested: {wanted})" for name, (found, wanted) in others.items())
        fix = f"{sys.executable} -m pip install -c {constraints} " + " ".join(others)
        yield Finding("constraints", LIMIT, f"{len(others)} packages have untested versions: {names}", fix)
    else:
        yield Finding("constraints", OK, "every package has the version in constraints.txt")


def _bounded(bound: Requirement, name: str) -> Iterator[Finding]:
    found = _version(bound.name)
    fix = f"{sys.executable} -m pip install '{bound}'"
    if found is None:
        yield Finding(name, BAD, "not installed", f"{sys.executable} -m pip install 'headforge[mlops]'")
    elif Version(found) not in bound.specifier:
        yield Finding(name, BAD, f"{found}: {TRAPS[name]}", fix)
    else:
        yield Finding(name, OK, found)


def differing_versions(constraints: str) -> dict[str, tuple[str, str]]:
    """Installed packages with another version than the pinned one: name to (found, pinned)."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", constraints, re.MULTILINE)
    found = {name: (_version(name), pinned) for name, pinned in pins}
    return {
        name: (version, pinned)
        for name, (version, pinned) in found.items()
        if version is not None and Version(version).public != Version(pinned).public
    }


def extras(root: Path | None) -> Iterator[Finding]:
    """Check which optional parts are installed."""
    path = root / "pyproject.toml" if root is not None else None
    if path is None or not path.is_file():
        return
    for name, wanted in read_toml(path)["project"]["optional-dependencies"].items():
        packages = [Requirement(text) for text in wanted]
        missing = [one.name for one in packages if one.name != "headforge" and _version(one.name) is None]
        if name in ("demo", "dev"):
            continue
        level = EXTRAS.get(name, INFO) if missing else OK
        fix = f"{sys.executable} -m pip install -c constraints.txt -e '.[{name}]'" if missing else ""
        yield Finding(f"extra {name}", level, f"missing: {', '.join(missing)}" if missing else "installed", fix)


def state_folder() -> Iterator[Finding]:
    """Check that HEADFORGE_HOME is writable, supports locks and agrees with this machine's clock."""
    try:
        folder = home()
    except HeadforgeError as error:
        yield Finding("home", BAD, error.message, error.help)
        return
    yield Finding("home", OK, f"{folder} can be written")
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        yield Finding("privacy", LIMIT, f"other users may enter {folder} (mode {mode:04o})", f"chmod 700 {folder}")
    probe = folder / f".probe-{os.getpid()}"
    try:
        with probe.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write("x")
        shift_s = probe.stat().st_mtime - time.time()
    except OSError as error:
        fix = "set HEADFORGE_HOME to a folder on a local disk."
        yield Finding("locks", BAD, f"{folder} has no file locks: {error.strerror}", fix)
        return
    finally:
        probe.unlink(missing_ok=True)
    yield Finding("locks", OK, "file locks work")
    if abs(shift_s) > CLOCK_TOLERANCE_S:
        fix = "synchronise both clocks (NTP); files would look newer or older than they are."
        yield Finding("clock", LIMIT, f"the disk's clock is {shift_s:+.0f} s off this machine's", fix)


def clock(root: Path | None) -> Iterator[Finding]:
    """Time and time zone, which schedules go by."""
    now = datetime.now().astimezone()
    yield Finding("time", OK, f"{now.isoformat(timespec='seconds')}, time zone {now.tzname()}")
    if root is None:
        return
    committed = _git(root, "log", "-1", "--format=%ct")
    if committed.isdigit() and int(committed) > now.timestamp() + 60:
        when = datetime.fromtimestamp(int(committed), UTC).isoformat()
        yield Finding("clock", BAD, f"it is before the project's last commit ({when})", "set the clock (NTP).")


def project_state(root: Path | None) -> Iterator[Finding]:
    """Git and DVC."""
    if root is None:
        yield Finding("project", INFO, "this folder is in no headforge project", "change into a clone of headforge.")
        return
    revision = _git(root, "rev-parse", "--short", "HEAD")
    if not revision:
        yield Finding("git", BAD, f"{root} has no commit", "git add -A && git commit -m start")
    elif _git(root, "status", "--porcelain", "-uno"):
        fix = "git commit, so that runs can be told apart and the schedule, which sees commits only, follows."
        yield Finding("git", INFO, f"{revision}, with changes that are not committed", fix)
    else:
        yield Finding("git", OK, f"{revision}, nothing changed")
    try:
        changed = list(changed_stages(root))
        what = f"out of date: {', '.join(changed)}" if changed else "everything is up to date"
        yield Finding("dvc", INFO if changed else OK, what, "headforge run" if changed else "")
    except HeadforgeError as error:
        yield Finding("dvc", BAD, error.message, error.help)
    guard = Path(sysconfig.get_path("purelib")) / START_FILE
    if guard.is_file():
        yield Finding("dvc guard", OK, "DVC checks the objects in its cache")
    else:
        fix = f"{sys.executable} -m flows.services.dvc_guard"
        yield Finding("dvc guard", LIMIT, "DVC would take damaged objects of its cache for good", fix)


def free_space(root: Path | None) -> Iterator[Finding]:
    """Disks as good as full."""
    for name, folder in (("home", home()), ("project", root)):
        if folder is None:
            continue
        free = shutil.disk_usage(folder).free
        level = OK if free >= MIN_FREE_BYTES else BAD
        fix = "free some space, or set HEADFORGE_HOME to a folder on a larger disk." if level == BAD else ""
        yield Finding(f"disk of the {name}", level, f"{free / 2**30:.1f} GiB free", fix)


def recorders() -> Iterator[Finding]:
    """Check the databases of MLflow and Prefect. A run continues without them."""
    for path, schema in ((mlflow_path(), MLFLOW), (database(), PREFECT)):
        name = f"{schema.program}'s database"
        try:
            condition = examine(path, schema, thorough=True)
        except HeadforgeError as error:
            yield Finding(name, LIMIT, error.message, error.help)
            continue
        match condition.state:
            case State.MISSING:
                yield Finding(name, OK, "the first run makes it")
            case State.READY:
                yield Finding(name, OK, f"{path} is sound")
            case State.OLDER:
                yield Finding(name, INFO, f"{path}: {condition.found}", "headforge run: the next one migrates it.")
            case State.BROKEN:
                fix = "headforge run: the next one puts it aside and makes a new one."
                yield Finding(name, LIMIT, f"{path} can't be used: {condition.found}", fix)
            case State.UNUSABLE:
                fix = f"look at the disk and the rights of {path.parent}; until then runs are not recorded."
                yield Finding(name, LIMIT, f"{path} can't be used: {condition.found}", fix)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
