"""Items of the stage `evaluate`: metrics of existing pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from headforge.metrics.config import EvaluateConfig
from headforge.metrics.evaluate import VERSION, evaluate
from headforge.metrics.perceptual import BUILTIN, PerceptualDistance
from headforge.priors.assets import Asset, read_asset
from headforge.priors.faces.dlib_faces import DlibFaces
from headforge.priors.lpips import load_lpips
from headforge.progress import Progress
from headforge.settings import params_of
from headforge.store.dataset.tables import read_predictions, write_predictions
from headforge.store.files import sha256_file
from headforge.store.objects.store import Recipe
from headforge.types import MethodOutput
from tasks.digests import dataset_digest, folder_digest
from tasks.inputs.assets import named_asset
from tasks.items import CPU_RUNTIME, Item

PREDICTIONS_FILE = "predictions.parquet"


def perceptual_asset(config: EvaluateConfig, assets: Mapping[str, str], store: Path) -> Asset | None:
    """Return the weights for `config.perceptual` from the section `assets` of params.yaml; None if it needs none.

    Raises ConfigError, with the command that adds them, if they are missing.
    """
    name = config.perceptual
    return None if name == "none" or name in BUILTIN else named_asset(name, name, assets, store)


def evaluate_item(
    config: EvaluateConfig,
    dataset: Path,
    tracked: Path,
    predictions: Sequence[Path],
    avatars: Path,
    weights: Asset | None = None,
    *,
    models: Sequence[MethodOutput],
    methods: Sequence[MethodOutput],
) -> Item:
    """Return the item of all metrics, from one or more prediction files.

    `weights` come from `perceptual_asset`; `models` made the predictions, `methods` the avatars.
    """
    inputs = {
        "dataset": dataset_digest(dataset, head=False),
        "tracked": folder_digest(tracked),
        "avatars": folder_digest(avatars),
    } | {f"predictions {number}": sha256_file(path) for number, path in enumerate(predictions)}
    folder = None
    if weights is not None:
        inputs["perceptual"], folder = weights.sha256, weights.folder
    nested = [output.name for output in (*models, *methods) if output.folder]
    params = params_of(config) | ({"methods": nested} if nested else {})
    recipe = Recipe("evaluate", VERSION, params, inputs, CPU_RUNTIME)
    chosen = (tuple(models), tuple(methods))
    args = (config, dataset, tracked, tuple(predictions), avatars, chosen, folder)
    return Item("metrics", recipe, make_metrics, args)


def make_metrics(
    config: EvaluateConfig,
    dataset: Path,
    tracked: Path,
    predictions: Sequence[Path],
    avatars: Path,
    chosen: tuple[Sequence[MethodOutput], Sequence[MethodOutput]],
    weights: Path | None,
    folder: Path,
    progress: Progress,
) -> None:
    """Write the metrics and the predictions that they measure; runs in a worker. `weights` is an asset's folder."""
    joined = folder / "details" / "predictions.parquet"
    joined.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(joined, [prediction for part in predictions for prediction in read_predictions(part)])
    distance = perceptual_distance(config, weights)
    models, methods = chosen
    evaluate(config, dataset, tracked, joined, avatars, DlibFaces(), folder, distance, models=models, methods=methods)


def perceptual_distance(config: EvaluateConfig, weights: Path | None) -> PerceptualDistance | None:
    """Return the distance that `config.perceptual` names; `weights` is the folder of its asset, if it needs one."""
    if weights is not None:
        return load_lpips(read_asset(weights))
    return BUILTIN[config.perceptual]() if config.perceptual in BUILTIN else None
