"""What a stage tells the `headforge` that started it, through a file: DVC stands between the two."""

from __future__ import annotations

import dataclasses
import json
import os
import traceback
from dataclasses import dataclass
from pathlib import Path

from flows.project.project import OUTCOME_VARIABLE, home
from headforge.errors import HeadforgeError
from headforge.store.files import write_json

EXIT_DONE, EXIT_ITEMS, EXIT_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130
EXIT_PIPE = 141
"""Exit code after the reader of the output has ended, as a shell reports SIGPIPE."""


@dataclass(frozen=True)
class Rejection:
    """An item that was recorded as bad, or that failed."""

    item: str
    reason: str
    help: str = ""

    def __str__(self) -> str:
        return f"{self.item}: {self.reason}"


@dataclass(frozen=True)
class Outcome:
    """How a stage ended."""

    exit_code: int
    message: str = ""
    failed: tuple[Rejection, ...] = ()
    n_items: int = 0
    n_hits: int = 0
    run_id: str = ""
    """MLflow's; empty if it took no record."""


def write_outcome(outcome: Outcome) -> None:
    """Leave it where the driver asked for it, if one did."""
    path = os.environ.get(OUTCOME_VARIABLE)
    if path:
        write_json(Path(path), dataclasses.asdict(outcome))


def read_outcome(path: Path) -> Outcome | None:
    """Return the outcome that the stage wrote, or None if it did not run or was killed."""
    if not path.is_file():
        return None
    values = json.loads(path.read_text())
    return Outcome(**values | {"failed": tuple(Rejection(**item) for item in values["failed"])})


def unexpected_error_message(name: str, error: Exception) -> str:
    """Return the message of an unexpected error, and write its traceback to a log file in the home folder."""
    said = f"{name} stopped at an unexpected error: {type(error).__name__}: {error}"
    try:
        log = home() / f"{name}-error.log"
        log.write_text("".join(traceback.format_exception(error)), errors="backslashreplace")
    except (HeadforgeError, OSError):
        return f"{said}\nhelp: run it again; if the error persists, report this message."
    return f"{said}\nhelp: run it again; if the error persists, report it with {log}."
