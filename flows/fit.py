"""The flow of the stage `fit`: `python -m flows.fit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.run.methods import method_items
from flows.run.rejects import REJECTS_FILE
from flows.run.runner import run_stage
from headforge.store.files import write_json
from tasks.items import rejection

if TYPE_CHECKING:
    from flows.run.stage_run import StageRun


def fit(run: StageRun) -> None:
    """Fit avatars of held-out subjects and of all tracked portraits, with each method."""
    items = method_items(run.settings, "fit", run.sources())
    avatars = run.build(items, "avatars")
    accepted = run.accepted(avatars)
    with run.published("fit") as folder:
        folder.mkdir()
        for item, avatar in zip(items, avatars, strict=True):
            if avatar in accepted:
                run.publish(item, avatar, folder / item.label)
        write_json(folder / REJECTS_FILE, [dict(reason) for avatar in avatars if (reason := rejection(avatar))])
    run.metrics["n_avatars"] = len(accepted)
    run.figures += sorted(run.data("fit").rglob("frontal.png"))


if __name__ == "__main__":
    run_stage("fit", fit)
