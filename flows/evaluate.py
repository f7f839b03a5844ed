"""The flow of the stage `evaluate`: `python -m flows.evaluate`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flows.run.methods import chosen_outputs, chosen_rows
from flows.run.runner import run_stage
from tasks.evaluate import evaluate_item, perceptual_asset
from tasks.generate import PREDICTIONS_FILE

if TYPE_CHECKING:
    from flows.run.stage_run import StageRun


def evaluate(run: StageRun) -> None:
    """Sample held-out views with the models and their baselines, then compute metrics of them and of the avatars."""
    dataset, tracked, sources = run.data("synthesize"), run.data("track"), run.sources()
    items = [item for method in chosen_rows(run.settings, "train").values() for item in method.predictions(sources)]
    predictions = [found.path / PREDICTIONS_FILE for found in run.build(items, "sets of pictures")]
    config = run.settings["evaluate"]
    weights = perceptual_asset(config, run.settings.assets, run.store.root)
    models, methods = (chosen_outputs(run.settings, stage) for stage in ("train", "fit"))
    item = evaluate_item(
        config, dataset, tracked, predictions, run.data("fit"), weights, models=models, methods=methods
    )
    (measured,) = run.build([item], "tables of metrics")
    output = run.data("evaluate")
    with run.published("evaluate") as folder:
        run.publish(item, measured, folder)
    run.metrics |= flat_numbers(json.loads((output / "metrics.json").read_text()))


def flat_numbers(values: object, prefix: str = "") -> dict[str, float]:
    """Return the numbers in nested JSON objects, by dotted name."""
    if isinstance(values, dict):
        parts = [flat_numbers(value, f"{prefix}.{name}" if prefix else str(name)) for name, value in values.items()]
        return {name: number for part in parts for name, number in part.items()}
    if isinstance(values, bool) or not isinstance(values, int | float):
        return {}
    return {prefix: float(values)}


if __name__ == "__main__":
    run_stage("evaluate", evaluate)
