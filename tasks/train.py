"""Items of the stage `train`: one per model, which resumes from its last checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headforge.diffusion.config import TrainConfig
from headforge.progress import Progress
from headforge.settings import params_of
from headforge.store.dataset.shards import shard_paths
from headforge.store.objects.store import Recipe
from tasks.digests import dataset_digest, folder_digest
from tasks.generate import prediction_items
from tasks.items import CPU_RUNTIME, Item
from tasks.methods import Code, Method, Sources

BOOKKEEPING = ("checkpoint_images",)
"""Settings that don't change the model."""
MODEL = "model"
"""Label of a model's item."""


def control_items(sources: Sources) -> list[Item]:
    """Return the item of the control model."""
    return [train_item(sources.settings["train"], sources.dataset, sources.tracked)]


def control_predictions(sources: Sources) -> list[Item]:
    """Return the items of the control model's and its baselines' pictures of held-out views."""
    image_size = sources.settings["train"].image_size
    config, model = sources.settings["generate"], sources.models["control"]
    return prediction_items(config, image_size, model, sources.dataset, sources.tracked)


def train_item(config: TrainConfig, dataset: Path, tracked: Path) -> Item:
    """Return the item of a control model trained on a dataset and its tracks."""
    from headforge.diffusion.train import VERSION  # imports diffusers

    inputs = {
        "dataset": dataset_digest(dataset),
        "tracks": folder_digest(tracked, shard_paths(tracked)),
    }
    runtime = dict(CPU_RUNTIME) | {"threads": str(config.n_threads)}
    recipe = Recipe("train", VERSION, params_of(config, without=BOOKKEEPING), inputs, runtime)
    return Item(MODEL, recipe, make_model, (config, dataset, tracked), resumable=True)


def make_model(config: TrainConfig, dataset: Path, tracked: Path, folder: Path, work: Path, progress: Progress) -> None:
    """Train a model; runs in a worker."""
    from headforge.diffusion.train import train

    train(config, dataset, tracked, folder, work, progress)


MODELS: Mapping[str, Method] = {
    "control": Method(
        title="Control model",
        settings=TrainConfig,
        items=control_items,
        code={
            "train": Code("train", "headforge.diffusion.train"),
            "generate": Code("generate", "headforge.diffusion.generate"),
            "generate_portrait": Code("generate", "headforge.diffusion.generate"),
            "baselines": Code("generate", "headforge.diffusion.baselines"),
        },
        at_top=True,
        predictions=control_predictions,
    ),
}
"""Values allowed in `train.models`."""
