"""Work of the stage `train`: one item, which goes on from its last checkpoint."""

from __future__ import annotations

from pathlib import Path

from headforge.diffusion.config import TrainConfig
from headforge.diffusion.train import VERSION, train
from headforge.progress import Progress
from headforge.settings import params_of
from headforge.store.dataset.shards import shard_paths
from headforge.store.objects.store import Recipe
from tasks.digests import dataset_digest, folder_digest
from tasks.items import CPU_RUNTIME, Item

BOOKKEEPING = ("checkpoint_images",)
"""Settings that don't change the model."""


def train_item(config: TrainConfig, dataset: Path, tracked: Path) -> Item:
    """The model trained on a dataset and its tracks."""
    inputs = {
        "dataset": dataset_digest(dataset),
        "tracks": folder_digest(tracked, shard_paths(tracked)),
    }
    runtime = dict(CPU_RUNTIME) | {"threads": str(config.n_threads)}
    recipe = Recipe("train", VERSION, params_of(config, without=BOOKKEEPING), inputs, runtime)
    return Item("model", recipe, make_model, (config, dataset, tracked), resumable=True)


def make_model(config: TrainConfig, dataset: Path, tracked: Path, folder: Path, work: Path, progress: Progress) -> None:
    """Runs in a worker."""
    train(config, dataset, tracked, folder, work, progress)
