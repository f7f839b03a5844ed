"""Which objects of the store a project's folders were published from: machine state."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from flows.project.project import store_root
from flows.stages import STAGE_NAMES
from headforge.errors import DataError
from headforge.guarded import read_json
from headforge.store.files import write_json
from headforge.store.objects.store import Store

_KEY = re.compile(r"[0-9A-Za-z_-]+")


def write_receipt(root: Path, stage: str, keys: Sequence[str]) -> None:
    """Note the keys that a stage used."""
    write_json(_path(root, stage), sorted(set(keys)))


def read_receipts(root: Path) -> dict[str, list[str]]:
    """Return the keys by stage; a stage that never ran here is missing."""
    return {stage: _read(_path(root, stage)) for stage in STAGE_NAMES if _path(root, stage).is_file()}


def _read(path: Path) -> list[str]:
    help = "delete it and run the stage again; it finds its results in the store."
    keys = read_json(path, help)
    if not isinstance(keys, list) or not all(isinstance(key, str) and _KEY.fullmatch(key) for key in keys):
        raise DataError(path, f"{path} is no list of keys of the store.", help)
    return keys


def damaged_stages(root: Path) -> list[str]:
    """Return stages one of whose objects lies in the store and is not what its manifest says."""
    store = Store(store_root())
    return [
        stage
        for stage, keys in read_receipts(root).items()
        if any(store.object_path(key).is_dir() and not store.is_intact(key) for key in keys)
    ]


def missing_objects(root: Path) -> dict[str, list[str]]:
    """Return keys that are not in the store any more, by stage; their results are where they were published to."""
    store = Store(store_root())
    gone = {
        stage: [key for key in keys if not store.object_path(key).is_dir()]
        for stage, keys in read_receipts(root).items()
    }
    return {stage: keys for stage, keys in gone.items() if keys}


def receipts_folder(root: Path) -> Path:
    """Return where a project's receipts are."""
    return root / ".dvc" / "tmp" / "headforge"


def _path(root: Path, stage: str) -> Path:
    return receipts_folder(root) / f"{stage}.json"
