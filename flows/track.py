"""The flow of the stage `track`: `python -m flows.track`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.rejects import REJECTS_FILE
from flows.runner import run_stage
from headforge.store.files import write_json
from headforge.track.track import summarize_tracks
from tasks.items import rejection
from tasks.track import portrait_items, shard_items

if TYPE_CHECKING:
    from flows.stage_run import StageRun


def track(run: StageRun) -> None:
    """Track the dataset and the portraits."""
    config, portraits = run.settings["track"], run.settings.portraits
    dataset = run.data("synthesize")
    items = portrait_items(config, dataset, portraits, run.store.root)
    found = run.build([*items, *shard_items(config, dataset)], "shards and portraits")
    photos, shards = found[: len(items)], found[len(items) :]
    accepted = run.accepted(photos)
    with run.published("track") as folder:
        summary = summarize_tracks(config, [shard.path for shard in shards], folder)
        for item, photo in zip(items, photos, strict=True):
            if photo in accepted:
                run.publish(item, photo, folder / "portraits" / item.label)
        (folder / "portraits").mkdir(exist_ok=True)
        write_json(folder / REJECTS_FILE, [dict(reason) for photo in photos if (reason := rejection(photo))])
    run.metrics |= {name: float(value) for name, value in summary.items()}
    run.figures += sorted(run.data("track").glob("portraits/*/overlay.png"))


if __name__ == "__main__":
    run_stage("track", track)
