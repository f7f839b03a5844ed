"""Which items of a stage failed in its last run: machine state, so that `headforge retry` knows what to redo."""

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
    """What the stage ran with, as JSON values by "section.key"."""
    items: tuple[Failure, ...]


def record_failures(root: Path, stage: str, settings: Mapping[str, object], items: Sequence[Failure]) -> None:
    """Note what failed."""
    listed = [dataclasses.asdict(dataclasses.replace(item, details="")) for item in items]
    write_json(_path(root, stage), {"settings": plain(settings), "items": listed})


def clear_failures(root: Path, stage: str) -> None:
    """The stage ended well."""
    _path(root, stage).unlink(missing_ok=True)


def read_failures(root: Path) -> dict[str, FailedRun]:
    """Return what failed last time, by stage, in the stages' order."""
    found = {}
    for stage in STAGE_NAMES:
        if _path(root, stage).is_file():
            content = json.loads(_path(root, stage).read_text())
            found[stage] = FailedRun(content["settings"], tuple(Failure(**item) for item in content["items"]))
    return found


def plain(settings: Mapping[str, object]) -> dict[str, object]:
    """Return as JSON gives them back: tuples become lists."""
    return json.loads(json.dumps(dict(settings)))


def _path(root: Path, stage: str) -> Path:
    return receipts_folder(root) / f"{stage}-failed.json"
