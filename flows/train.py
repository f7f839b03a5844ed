"""The flow of the stage `train`: `python -m flows.train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from flows.run.runner import run_stage
from tasks.train import train_item

if TYPE_CHECKING:
    from flows.run.stage_run import StageRun


def train(run: StageRun) -> None:
    """Train the model, from its last checkpoint if a run was interrupted."""
    output = run.data("train")
    item = train_item(run.settings["train"], run.data("synthesize"), run.data("track"))
    (model,) = run.build([item], "models")
    with run.published("train") as folder:
        run.publish(item, model, folder)
    run.progress.metrics = read_log(output / "train_log.jsonl")
    run.figures += sorted(output.glob("*.png"))
    run.model = output


def read_log(path: Path) -> list[tuple[str, float, int]]:
    """The whole training log as (name, value, images seen), also of the part before an interruption."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        (f"train/{name}", float(value), int(line["n_images_seen"]))
        for line in lines
        for name, value in line.items()
        if name != "n_images_seen"
    ]


if __name__ == "__main__":
    run_stage("train", train)
