"""The MLflow run of one stage."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from flows.project.project import PARENT_RUN_VARIABLE
from flows.run.outcome import EXIT_DONE, Outcome
from flows.run.stage_run import StageRun
from flows.services.records import RunRecord
from flows.stages import STAGE_NAMES


class StageRecord(RunRecord):
    """The record of one stage, below that of the `headforge run` it belongs to, if it belongs to one."""

    def __init__(self, stage: str, root: Path, params: Mapping[str, object], say: Callable[[str], None]) -> None:
        parent = os.environ.get(PARENT_RUN_VARIABLE)
        is_known = parent == ""  # the `headforge run` has no record and has said so
        super().__init__(stage, root, params, parent or "", _ignore if is_known else say)
        self.root = root
        self.outputs(root, STAGE_NAMES[: STAGE_NAMES.index(stage)])

    def finish(self, run: StageRun, outcome: Outcome) -> None:
        """Log everything the stage has to show for itself."""
        self.metrics(run.progress.metrics + [(name, value, 0) for name, value in run.metrics.items()])
        self.tags({f"store.{number:03d}": thing.key for number, thing in enumerate(run.objects)})
        if outcome.exit_code != EXIT_DONE:
            return
        self.metrics([("n_items", outcome.n_items, 0), ("n_hits", outcome.n_hits, 0)])
        self.figures(run.figures, self.root)
        for name, folder in run.models.items():
            self.register_model(name, folder)
        self.succeed()


def _ignore(text: str) -> None: ...
