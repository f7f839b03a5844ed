"""Receipts: keys of the objects from which a project's folders were published. Machine state."""

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
    """Record the keys that a stage used."""
    write_json(_path(root, stage), sorted(set(keys)))


def read_receipts(root: Path) -> dict[str, list[str]]:
    """Return the keys by stage, without stages that never ran here."""
    return {stage: _read(_path(root, stage)) for stage in STAGE_NAMES if _path(root, stage).is_file()}


def _read(path: Path) -> list[str]:
    help = "delete it and run the stage again; it finds its results in the store."
    keys = read_json(path, help)
    if not isinstance(keys, list) or not all(isinstance(key, str) and _KEY.fullmatch(key) for key in keys):
        raise DataError(path, f"{path} is no list of keys of the store.", help)
    return keys


def damaged_stages(root: Path) -> list[str]:
    """Return the stages with an object in the store that does not match its manifest."""
    store = Store(store_root())
    return [
        stage
        for stage, keys in read_receipts(root).items()
        if any(store.object_path(key).is_dir() and not store.is_intact(key) for key in keys)
    ]


def missing_objects(root: Path) -> dict[str, list[str]]:
    """Return the keys that are no longer in the store, by stage; their results are still published."""
    store = Store(store_root())
    gone = {
        stage: [key for key in keys if not store.object_path(key).is_dir()]
        for stage, keys in read_receipts(root).items()
    }
    return {stage: keys for stage, keys in gone.items() if keys}


def receipts_folder(root: Path) -> Path:
    """Return the folder of a project's receipts."""
    return root / ".dvc" / "tmp" / "headforge"


def _path(root: Path, stage: str) -> Path:
    return receipts_folder(root) / f"{stage}.json"
