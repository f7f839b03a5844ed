"""Entry point of `python -m flows.<stage>`: environment, server, engine, record, exit code.

Prefect and MLflow are imported after the environment is set up, which they read on import. Worker processes import the
stage's main module again and must not import them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flows.project.checkouts import using_store
from flows.project.project import find_root, home, only_run, quiet_environment, require_space
from flows.run.found import publish_if_found
from flows.run.outcome import EXIT_INPUT, EXIT_INTERRUPTED, EXIT_ITEMS, Outcome, unexpected_error_message, write_outcome
from headforge.errors import HeadforgeError

if TYPE_CHECKING:
    from flows.run.stage_run import StageRun


def _import_tools() -> None:
    """Import Prefect and MLflow while the server starts, which takes about as long."""
    importlib.import_module("flows.run.execution")


def _run_as_flow(name: str, body: Callable[[StageRun], None], root: Path) -> Outcome:
    from flows.services.server import prefect_server

    with prefect_server(_import_tools):
        from flows.run.execution import execute

        return execute(name, body, root)


def run_stage(name: str, body: Callable[[StageRun], None]) -> None:
    """Run one stage in the project of the current folder and end the process with its exit code."""
    try:
        root = find_root(Path.cwd())
        require_space(root, home())
        quiet_environment()
        with using_store(root), only_run(root):
            outcome = publish_if_found(name, body, root) or _run_as_flow(name, body, root)
    except HeadforgeError as error:
        outcome = Outcome(EXIT_INPUT, str(error))
    except KeyboardInterrupt:
        outcome = Outcome(EXIT_INTERRUPTED, "interrupted; finished work is kept.")
    except Exception as error:
        outcome = Outcome(EXIT_ITEMS, unexpected_error_message(name, error))
    write_outcome(outcome)
    if outcome.message:
        print(outcome.message, file=sys.stderr)
    sys.exit(outcome.exit_code)
