"""Rejected items, read from the stages' outputs."""

from __future__ import annotations

from pathlib import Path

from flows.run.outcome import Rejection
from flows.stages import stage_named
from headforge.guarded import guarded, read_json, read_json_object

REJECTS_FILE = "rejects.json"


def published_rejects(root: Path) -> list[Rejection]:
    """Return the rejected views, portraits and subjects in the current outputs of a project."""
    found = []
    described = root / stage_named("synthesize").output / "dataset.json"
    table = described.with_name("rejects.parquet")
    if described.is_file() and read_json_object(described).get("n_rejected") and table.is_file():
        from headforge.store.dataset.tables import (
            read_rejects,  # imports torch, which a run that ends early does not need
        )

        found += [Rejection(reject.item, reject.reason) for reject in read_rejects(table)]
    for stage in ("track", "fit"):
        path = root / stage_named(stage).output / REJECTS_FILE
        items = read_json(path) if path.is_file() else []
        with guarded(path, "a readable list of rejects"):
            found += [Rejection(item["item"], item["reason"], item["help"]) for item in items]
    return found
