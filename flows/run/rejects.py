"""Items that were recorded as bad, read from what the stages published."""

from __future__ import annotations

from pathlib import Path

from flows.run.outcome import Rejection
from flows.stages import stage_named
from headforge.guarded import guarded, read_json, read_json_object

REJECTS_FILE = "rejects.json"


def published_rejects(root: Path) -> list[Rejection]:
    """Return rejected views, portraits and subjects of a project as it is now."""
    found = []
    described = root / stage_named("synthesize").output / "dataset.json"
    table = described.with_name("rejects.parquet")
    if described.is_file() and read_json_object(described).get("n_rejected") and table.is_file():
        from headforge.store.dataset.tables import (
            read_rejects,  # with it comes torch, which a run that ends early can spare
        )

        found += [Rejection(reject.item, reject.reason) for reject in read_rejects(table)]
    for stage in ("track", "fit"):
        path = root / stage_named(stage).output / REJECTS_FILE
        items = read_json(path) if path.is_file() else []
        with guarded(path, "a readable list of rejects"):
            found += [Rejection(item["item"], item["reason"], item["help"]) for item in items]
    return found
