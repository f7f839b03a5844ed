"""Items of pictures by the trained model and its baselines, for the stages `fit` (portraits) and `evaluate` (held-out
views).

Diffusers is imported in the workers' functions only, so that reading the tables of methods stays fast.
"""

from __future__ import annotations

from pathlib import Path

from headforge.diffusion.config import GenerateConfig
from headforge.progress import Progress
from headforge.settings import params_of
from headforge.store.dataset.shards import shard_paths
from headforge.store.objects.store import Recipe
from tasks.digests import dataset_digest, folder_digest
from tasks.items import CPU_RUNTIME, Item

PREDICTIONS_FILE = "predictions.parquet"
VIEWS_FILE = "views.parquet"


def portrait_views_item(config: GenerateConfig, model: Path, portrait: Path) -> Item:
    """Return the item of the trained model's pictures of a tracked portrait from several directions."""
    from headforge.diffusion.generate import VERSION

    inputs = {"model": folder_digest(model, model.glob("*.safetensors")), "portrait": folder_digest(portrait)}
    recipe = Recipe("generate_portrait", VERSION, params_of(config), inputs, CPU_RUNTIME)
    return Item(f"{portrait.name}, views", recipe, make_portrait_views, (config, model, portrait))


def prediction_items(config: GenerateConfig, image_size: int, model: Path, dataset: Path, tracked: Path) -> list[Item]:
    """Return the items of the model's and the baselines' pictures of held-out views, of side `image_size` pixels."""
    from headforge.diffusion.baselines import VERSION as BASELINES_VERSION
    from headforge.diffusion.generate import VERSION as GENERATE_VERSION

    inputs = {
        "dataset": dataset_digest(dataset),
        "tracks": folder_digest(tracked, shard_paths(tracked)),
    }
    params = params_of(config)
    of_model = inputs | {"model": folder_digest(model, model.glob("*.safetensors"))}
    return [
        Item(
            "held-out views, model", Recipe("generate", GENERATE_VERSION, params, of_model, CPU_RUNTIME),
            make_heldout, (config, model, dataset, tracked),
        ),
        Item(
            "held-out views, baselines",
            Recipe("baselines", BASELINES_VERSION, params | {"image_size": image_size}, inputs, CPU_RUNTIME),
            make_baselines, (config, dataset, tracked, image_size),
        ),
    ]  # fmt: skip


def make_portrait_views(config: GenerateConfig, model: Path, portrait: Path, folder: Path, progress: Progress) -> None:
    """Sample views of a tracked portrait with the model; runs in a worker."""
    from headforge.diffusion.generate import generate_portrait_views

    generate_portrait_views(config, model, portrait, folder / VIEWS_FILE, progress)


def make_heldout(
    config: GenerateConfig, model: Path, dataset: Path, tracked: Path, folder: Path, progress: Progress
) -> None:
    """Sample held-out views with the model; runs in a worker."""
    from headforge.diffusion.generate import generate_heldout

    generate_heldout(config, model, dataset, tracked, folder / PREDICTIONS_FILE, progress)


def make_baselines(
    config: GenerateConfig, dataset: Path, tracked: Path, image_size: int, folder: Path, progress: Progress
) -> None:
    """Write the baselines' pictures of held-out views; runs in a worker."""
    from headforge.diffusion.baselines import write_baselines

    write_baselines(config, dataset, tracked, image_size, folder / PREDICTIONS_FILE, progress)
