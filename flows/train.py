"""The flow of the stage `train`: `python -m flows.train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from flows.run.methods import chosen_outputs, method_items
from flows.run.runner import run_stage

if TYPE_CHECKING:
    from flows.run.stage_run import StageRun

LOG = "train_log.jsonl"


def train(run: StageRun) -> None:
    """Train the models; an interrupted training resumes from its last checkpoint."""
    output = run.data("train")
    items = method_items(run.settings, "train", run.sources())
    models = run.build(items, "models")
    outputs = chosen_outputs(run.settings, "train")
    with run.published("train") as folder:
        folder.mkdir()
        for item, model in zip(items, models, strict=True):
            run.publish(item, model, folder / Path(item.label).parent)
    run.progress.metrics = [
        line for model in outputs for line in read_log(output / model.folder / LOG, f"train/{model.prefix}")
    ]
    run.figures += sorted(path for model in outputs for path in (output / model.folder).glob("*.png"))
    run.models = {model.name: output / model.folder for model in outputs}


def read_log(path: Path, prefix: str = "train/") -> list[tuple[str, float, int]]:
    """Return the whole training log as (name, value, images seen), including the part before an interruption."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return [
        (f"{prefix}{name}", float(value), int(line["n_images_seen"]))
        for line in lines
        for name, value in line.items()
        if name != "n_images_seen"
    ]


if __name__ == "__main__":
    run_stage("train", train)
