"""The flow of the stage `fit`: `python -m flows.fit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.run.rejects import REJECTS_FILE
from flows.run.runner import run_stage
from headforge.store.dataset.shards import Dataset
from headforge.store.files import write_json
from tasks.fit import portrait_folders, portrait_item, subject_items
from tasks.generate import VIEWS_FILE, portrait_views_item
from tasks.inputs.subjects import choose_subjects
from tasks.items import rejection

if TYPE_CHECKING:
    from flows.run.stage_run import StageRun


def fit(run: StageRun) -> None:
    """Fit avatars of held-out subjects and of every portrait that was tracked."""
    config, dataset, tracked = run.settings["fit"], run.data("synthesize"), run.data("track")
    portraits = portrait_folders(tracked, run.settings.portraits)
    head = Dataset(dataset).head
    views = run.build(
        [portrait_views_item(run.settings["generate"], run.data("train"), folder) for folder in portraits],
        "sets of pictures",
    )
    items = [
        portrait_item(config, folder, shown.path / VIEWS_FILE, head)
        for folder, shown in zip(portraits, views, strict=True)
    ]
    subjects = choose_subjects(run.settings["subjects"], dataset)
    items += subject_items(config, dataset, tracked, subjects)
    avatars = run.build(items, "avatars")
    accepted = run.accepted(avatars)
    with run.published("fit") as folder:
        folder.mkdir()
        for item, avatar in zip(items, avatars, strict=True):
            if avatar in accepted:
                run.publish(item, avatar, folder / item.label)
        write_json(folder / REJECTS_FILE, [dict(reason) for avatar in avatars if (reason := rejection(avatar))])
    run.metrics["n_avatars"] = len(accepted)
    run.figures += sorted(run.data("fit").glob("*/frontal.png"))


if __name__ == "__main__":
    run_stage("fit", fit)
