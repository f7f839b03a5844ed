"""Items that failed in a stage's last run, recorded as machine state for `headforge retry`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.project.receipts import receipts_folder
from flows.stages import STAGE_NAMES
from headforge.store.files import write_json
from tasks.items import Failure


@dataclass(frozen=True)
class FailedRun:
    """The last run of a stage, if items failed in it."""

    settings: Mapping[str, object]
    """Settings of the run, as JSON values by "section.key"."""
    items: tuple[Failure, ...]


def record_failures(root: Path, stage: str, settings: Mapping[str, object], items: Sequence[Failure]) -> None:
    """Record the failed items of a stage's run."""
    listed = [dataclasses.asdict(dataclasses.replace(item, details="")) for item in items]
    write_json(_path(root, stage), {"settings": plain(settings), "items": listed})


def clear_failures(root: Path, stage: str) -> None:
    """Remove the record of a stage's failed items after a successful run."""
    _path(root, stage).unlink(missing_ok=True)


def read_failures(root: Path) -> dict[str, FailedRun]:
    """Return the failed last runs by stage, in the stages' order."""
    found = {}
    for stage in STAGE_NAMES:
        if _path(root, stage).is_file():
            content = json.loads(_path(root, stage).read_text())
            found[stage] = FailedRun(content["settings"], tuple(Failure(**item) for item in content["items"]))
    return found


def plain(settings: Mapping[str, object]) -> dict[str, object]:
    """Convert settings to JSON values: tuples become lists."""
    return json.loads(json.dumps(dict(settings)))


def _path(root: Path, stage: str) -> Path:
    return receipts_folder(root) / f"{stage}-failed.json"
