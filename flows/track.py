"""The flow of the stage `track`: `python -m flows.track`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flows.run.outcome import Rejection
from flows.run.rejects import REJECTS_FILE
from flows.run.runner import run_stage
from headforge.store.dataset.tables import read_tracks
from headforge.store.files import write_json
from headforge.track.track import summarize_tracks
from headforge.types import Track
from tasks.items import rejection
from tasks.track import VIDEO_LABEL, portrait_items, shard_items, video_items

if TYPE_CHECKING:
    from flows.run.stage_run import StageRun


UNTRACKED_HELP = "look at its pictures: headforge inspect data/synthetic."


def track(run: StageRun) -> None:
    """Track the dataset, the portraits and the videos."""
    config, settings = run.settings["track"], run.settings
    dataset = run.data("synthesize")
    portraits = portrait_items(config, dataset, settings.portraits, run.store.root)
    films = video_items(
        settings["video"], dataset, settings.videos, settings.landmarks, settings.assets, run.store.root
    )
    items = [*portraits, *films]
    unit = "shards, portraits and videos" if films else "shards and portraits"
    found = run.build([*items, *shard_items(config, dataset)], unit)
    made, shards = found[: len(items)], found[len(items) :]
    accepted = run.accepted(made)
    with run.published("track") as folder:
        summary = summarize_tracks(config, [shard.path for shard in shards], folder)
        for number, (item, thing) in enumerate(zip(items, made, strict=True)):
            if thing in accepted:
                kind = "portraits" if number < len(portraits) else "videos"
                run.publish(item, thing, folder / kind / item.label.removeprefix(VIDEO_LABEL))
        (folder / "portraits").mkdir(exist_ok=True)
        lost = untracked(read_tracks(folder).values()) if config.landmarks == "detected" else []
        write_json(folder / REJECTS_FILE, [*(dict(why) for thing in made if (why := rejection(thing))), *lost])
    run.rejected += [Rejection(reject["item"], reject["reason"], reject["help"]) for reject in lost]
    run.metrics |= {name: float(value) for name, value in summary.items()}
    tracked = run.data("track")
    run.figures += sorted([*tracked.glob("portraits/*/overlay.png"), *tracked.glob("videos/*/strip.png")])


def untracked(tracks: Iterable[Track]) -> list[dict[str, str]]:
    """Return the subjects without a tracked view, as rejects; the reason is that of the first view."""
    reasons: dict[str, str] = {}
    good: set[str] = set()
    for track in tracks:
        if track.status == "ok":
            good.add(track.subject_id)
        else:
            reasons.setdefault(track.subject_id, track.reason)
    return [
        {"item": subject, "gate": "tracking", "reason": reason, "help": UNTRACKED_HELP}
        for subject, reason in reasons.items()
        if subject not in good
    ]


if __name__ == "__main__":
    run_stage("track", track)
