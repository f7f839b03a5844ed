"""Calls of DVC, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from flows.project.project import BusyError, ProjectError, busy_error

BUSY_SIGNS = ("is busy", "Unable to acquire lock", "lock is already")


def changed_stages(root: Path) -> Mapping[str, object]:
    """Return DVC's status of the stages that are not up to date; empty if all are.

    Raises BusyError if another DVC command works on the project.
    """
    done = subprocess.run(_command("status", "--json"), cwd=root, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout)
    _raise_if_busy(root, done.stderr)
    raise ProjectError(
        f"DVC can't tell the state of {root}: {_last_line(done.stderr)}",
        "look at it with 'dvc status -v'; 'git checkout dvc.yaml dvc.lock' brings the last known good state back.",
    )


def reproduce(root: Path, stage: str, environment: Mapping[str, str]) -> int:
    """Run `dvc repro --single-item`; the stage's own output passes through, DVC's doesn't. Returns the exit code."""
    process = subprocess.Popen(
        _command("repro", "--single-item", "--quiet", stage), cwd=root, env=dict(os.environ) | dict(environment)
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        # The terminal's Ctrl-C reached the stage too; it ends its workers and leaves the store in order.
        process.wait()
        raise


def why_not_reproduced(root: Path, stage: str) -> str:
    """Return DVC's reason for not running a stage; `reproduce` has none, because --quiet hides errors too.

    Raises BusyError if another DVC command works on the project.
    """
    done = subprocess.run(
        _command("repro", "--single-item", "--dry", stage), cwd=root, capture_output=True, text=True, check=False
    )
    _raise_if_busy(root, done.stderr)
    return _last_line(done.stderr) if done.returncode else ""


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dvc", *arguments]


def _raise_if_busy(root: Path, complaints: str) -> None:
    if any(sign in complaints for sign in BUSY_SIGNS):
        error: BusyError = busy_error(root, "a DVC command")
        raise error


def _last_line(text: str) -> str:
    lines = (
        [line for line in text.splitlines() if line.startswith("ERROR")]
        or text.strip().splitlines()
        or ["it said nothing"]
    )
    return lines[-1].removeprefix("ERROR: ")
