"""Work of the stage `evaluate`: the numbers, from pictures that were made before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headforge.metrics.evaluate import VERSION, EvaluateConfig, evaluate
from headforge.priors.dlib_faces import DlibFaces
from headforge.progress import Progress
from headforge.settings import params_of
from headforge.store.files import sha256_file
from headforge.store.objects import Recipe
from headforge.store.tables import read_predictions, write_predictions
from tasks.digests import dataset_digest, folder_digest
from tasks.items import CPU_RUNTIME, Item

PREDICTIONS_FILE = "predictions.parquet"


def evaluate_item(
    config: EvaluateConfig, dataset: Path, tracked: Path, predictions: Sequence[Path], avatars: Path
) -> Item:
    """All numbers, from one or more files of predictions."""
    inputs = {
        "dataset": dataset_digest(dataset, head=False),
        "tracked": folder_digest(tracked),
        "avatars": folder_digest(avatars),
    } | {f"predictions {number}": sha256_file(path) for number, path in enumerate(predictions)}
    recipe = Recipe("evaluate", VERSION, params_of(config), inputs, CPU_RUNTIME)
    return Item("metrics", recipe, make_metrics, (config, dataset, tracked, tuple(predictions), avatars))


def make_metrics(
    config: EvaluateConfig,
    dataset: Path,
    tracked: Path,
    predictions: Sequence[Path],
    avatars: Path,
    folder: Path,
    progress: Progress,
) -> None:
    """Runs in a worker. Leaves the predictions it measured beside the numbers."""
    joined = folder / "details" / "predictions.parquet"
    joined.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(joined, [prediction for part in predictions for prediction in read_predictions(part)])
    evaluate(config, dataset, tracked, joined, avatars, DlibFaces(), folder)
