"""The flow of the stage `evaluate`: `python -m flows.evaluate`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flows.run.runner import run_stage
from tasks.evaluate import evaluate_item, perceptual_asset
from tasks.generate import PREDICTIONS_FILE, prediction_items

if TYPE_CHECKING:
    from flows.run.stage_run import StageRun


def evaluate(run: StageRun) -> None:
    """Draw held-out views with the model and with its baselines, then measure them and the avatars."""
    dataset, tracked = run.data("synthesize"), run.data("track")
    items = prediction_items(
        run.settings["generate"], run.settings["train"].image_size, run.data("train"), dataset, tracked
    )
    predictions = [found.path / PREDICTIONS_FILE for found in run.build(items, "sets of pictures")]
    config = run.settings["evaluate"]
    weights = perceptual_asset(config, run.settings.assets, run.store.root)
    item = evaluate_item(config, dataset, tracked, predictions, run.data("fit"), weights)
    (measured,) = run.build([item], "tables of metrics")
    output = run.data("evaluate")
    with run.published("evaluate") as folder:
        run.publish(item, measured, folder)
    run.metrics |= flat_numbers(json.loads((output / "metrics.json").read_text()))


def flat_numbers(values: object, prefix: str = "") -> dict[str, float]:
    """The numbers of nested JSON objects by dotted name."""
    if isinstance(values, dict):
        parts = [flat_numbers(value, f"{prefix}.{name}" if prefix else str(name)) for name, value in values.items()]
        return {name: number for part in parts for name, number in part.items()}
    if isinstance(values, bool) or not isinstance(values, int | float):
        return {}
    return {prefix: float(values)}


if __name__ == "__main__":
    run_stage("evaluate", evaluate)
