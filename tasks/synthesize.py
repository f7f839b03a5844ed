"""Items of the stage `synthesize`: one per shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from headforge.errors import ConfigError
from headforge.flame.builtin.head import MODEL_ID, builtin_head
from headforge.flame.builtin.head import VERSION as HEAD_VERSION
from headforge.flame.files import HEAD_FILE, save_head
from headforge.priors.assets import Asset
from headforge.priors.faces.dlib_faces import DlibFaces
from headforge.progress import Progress
from headforge.report.config import DATASET_PAGE_VERSION
from headforge.settings import params_of
from headforge.store.objects.store import Manifest, Recipe
from headforge.synth.config import SynthesizeConfig
from headforge.synth.gates import Detector
from headforge.synth.identities import Embedder
from headforge.synth.synthesize import VERSION, shard_subjects, synthesize_shard
from tasks.digests import folder_digest
from tasks.inputs.generators import load_generator
from tasks.items import CPU_RUNTIME, Item

LAYOUT = ("n_subjects", "subjects_per_shard", "duplicate_distance")
"""Settings that change no shard: they choose the subjects, or concern all of them together. A grown dataset keeps its
shards."""


def shard_items(config: SynthesizeConfig, asset: Asset | None = None) -> list[Item]:
    """Return the items of the dataset, one per shard; `asset` as in `shard_item`."""
    return [shard_item(config, subjects, asset) for subjects in shard_subjects(config)]


def shard_item(config: SynthesizeConfig, subjects: range, asset: Asset | None = None) -> Item:
    """Return the item of one shard; `asset` holds the weights of a trained generator, if `config` names one."""
    params = params_of(config, without=LAYOUT) | {"subjects": [subjects.start, subjects.stop]}
    inputs = DlibFaces().weights_sha256 if "dlib" in (config.gate_detector, config.identity) else {}
    drawn = {} if asset is None else {"generator": asset.sha256}
    needs_gpu = asset is not None and config.generator_device == "cuda"
    runtime = {**CPU_RUNTIME, "device": config.generator_device} if needs_gpu else CPU_RUNTIME
    return Item(
        label=f"subjects {subjects.start}-{subjects.stop - 1}",
        recipe=Recipe("synthesize", VERSION, params, {**inputs, **drawn}, runtime),
        function=make_shard,
        args=(config, subjects, None if asset is None else asset.folder),
        n_parts=len(subjects),
        part="subject",
        needs_gpu=needs_gpu,
    )


def item_of(manifest: Manifest) -> Item | None:
    """Return the item of an object; None if it is not a shard or the current code would make a different one.

    Also None for the shards of a trained generator: only a project names its weights.
    """
    params = dict(cast(Mapping[str, object], manifest.recipe["params"]))
    subjects = cast(Sequence[int], params.pop("subjects", ()))
    if manifest.recipe["stage"] != "synthesize" or len(subjects) != 2:
        return None
    try:
        config = SynthesizeConfig(**{name: _as_tuple(value) for name, value in params.items()})
    except (TypeError, ConfigError):  # settings of another code version
        return None
    item = shard_item(config, range(*subjects))
    return item if item.recipe.key == manifest.key else None


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(part) for part in value) if isinstance(value, list) else value


def make_shard(
    config: SynthesizeConfig, subjects: range, weights: Path | None, folder: Path, progress: Progress
) -> None:
    """Render a shard; runs in a worker. `weights` is the folder of a trained generator's asset, else None."""
    detector, embedder = face_detector(config.gate_detector), face_embedder(config.identity)
    generator = load_generator(config, weights)
    synthesize_shard(config, subjects, folder, progress, detector, embedder, generator)


def head_item() -> Item:
    """Return the item of the builtin generator's head model."""
    return Item(
        "head model", Recipe("head_model", HEAD_VERSION, {"model_id": MODEL_ID}, {}, CPU_RUNTIME), make_head, ()
    )


def make_head(folder: Path, progress: Progress) -> None:
    """Write the builtin head model; runs in a worker."""
    save_head(builtin_head(), folder / HEAD_FILE)


def page_item(dataset: Path, n_contact_subjects: int) -> Item:
    """Return the item of a dataset's page; its inputs are the shards' digests in dataset.json."""
    small = [path for path in dataset.iterdir() if path.is_file()]
    recipe = Recipe(
        "dataset_page",
        DATASET_PAGE_VERSION,
        {"n_contact_subjects": n_contact_subjects},
        {"dataset": folder_digest(dataset, small)},
        CPU_RUNTIME,
    )
    return Item("page", recipe, make_page, (dataset, n_contact_subjects))


def make_page(dataset: Path, n_contact_subjects: int, folder: Path, progress: Progress) -> None:
    """Write the page about a dataset; runs in a worker."""
    from headforge.report.dataset_page import build_dataset_page  # imports matplotlib, which the driver does not need

    build_dataset_page(dataset, n_contact_subjects, folder)


def face_detector(name: str) -> Detector | None:
    """Return the detector that the setting `gate_detector` names; None for "none"."""
    if name == "none":
        return None
    faces = DlibFaces()
    return lambda image: [face.landmarks for face in faces.detect_landmarks(image)]


def face_embedder(name: str) -> Embedder | None:
    """Return the embedder that the setting `identity` names; None for "parameters"."""
    if name == "parameters":
        return None
    faces = DlibFaces()

    def embed(image: np.ndarray) -> np.ndarray | None:
        found = faces.detect_landmarks(image)
        return faces.embed(image, found[0].landmarks) if found else None

    return embed
