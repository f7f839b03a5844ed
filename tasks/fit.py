"""Items of the stage `fit`: for each method one per subject and one per portrait."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from headforge.avatar.config import FitConfig
from headforge.avatar.fit import VERSION, fit_portrait, fit_subject
from headforge.errors import Rejected
from headforge.flame.files import load_head
from headforge.progress import Progress
from headforge.settings import params_of
from headforge.store.dataset.shards import Dataset, shard_paths
from headforge.store.files import sha256_file
from headforge.store.objects.store import Recipe
from tasks.digests import folder_digest, shard_digests, subject_digests
from tasks.generate import VIEWS_FILE, portrait_views_item
from tasks.inputs.subjects import choose_subjects
from tasks.items import CPU_RUNTIME, Item, write_rejection
from tasks.methods import Code, Method, Sources

PORTRAIT_PREFIX = "portrait_"


def rigged_items(sources: Sources) -> list[Item]:
    """Return the items of the portraits' and the chosen subjects' rigged avatars."""
    config, dataset, tracked = sources.settings["fit"], sources.dataset, sources.tracked
    portraits, head = portrait_folders(tracked, sources.portraits), Dataset(dataset).head
    generate, model = sources.settings["generate"], sources.models["control"]
    views = sources.build([portrait_views_item(generate, model, folder) for folder in portraits], "sets of pictures")
    items = [
        portrait_item(config, folder, shown.path / VIEWS_FILE, head)
        for folder, shown in zip(portraits, views, strict=True)
    ]
    subjects = choose_subjects(sources.settings["subjects"], dataset)
    return items + subject_items(config, dataset, tracked, subjects)


def subject_items(config: FitConfig, dataset: Path, tracked: Path, subjects: Sequence[str]) -> list[Item]:
    """Return the items of subjects' avatars, one per subject."""
    params = {name: value for name, value in params_of(config).items() if not name.startswith(PORTRAIT_PREFIX)}
    head = sha256_file(Dataset(dataset).head)
    rows, tracks = subject_digests(shard_digests(dataset)), subject_digests(shard_paths(tracked))
    return [
        Item(
            label=subject,
            recipe=Recipe(
                "fit",
                VERSION,
                params | {"subject": subject},
                {"subject": rows[subject], "tracks": tracks.get(subject, ""), "head": head},
                CPU_RUNTIME,
            ),
            function=make_subject,
            args=(config, dataset, tracked, subject),
        )
        for subject in subjects
    ]


def portrait_item(config: FitConfig, portrait: Path, views: Path, head: Path) -> Item:
    """Return the item of a tracked portrait's avatar; `views` is the file of the model's pictures of it."""
    inputs = {"portrait": folder_digest(portrait), "views": sha256_file(views), "head": sha256_file(head)}
    recipe = Recipe("fit_portrait", VERSION, params_of(config), inputs, CPU_RUNTIME)
    return Item(portrait.name, recipe, make_portrait, (config, portrait, views, head))


def portrait_folders(tracked: Path, names: Mapping[str, str]) -> list[Path]:
    """Return the folders of the tracked portraits; rejected ones have none."""
    folders = [tracked / "portraits" / name for name in sorted(names)]
    return [folder for folder in folders if folder.is_dir()]


def make_subject(
    config: FitConfig, dataset: Path, tracked: Path, subject: str, folder: Path, progress: Progress
) -> None:
    """Fit a subject's avatar, or record a rejection if it has too few tracked views; runs in a worker."""
    try:
        fit_subject(config, dataset, tracked, subject, folder, progress)
    except Rejected as error:
        progress.item_rejected(subject, error.reason)
        write_rejection(folder, subject, error.gate, error.reason, error.help)


def make_portrait(config: FitConfig, portrait: Path, views: Path, head: Path, folder: Path, progress: Progress) -> None:
    """Fit a portrait's avatar and copy the pictures it is fitted to beside it; runs in a worker."""
    fit_portrait(config, portrait, views, load_head(head), folder, progress)
    shutil.copyfile(views, folder / VIEWS_FILE)


METHODS: Mapping[str, Method] = {
    "rigged": Method(
        title="Avatars",
        settings=FitConfig,
        items=rigged_items,
        code={name: Code("fit", "headforge.avatar.fit") for name in ("fit", "fit_subject", "fit_portrait")},
        needs=("control",),
        at_top=True,
        label="avatar",
    ),
}
"""Values allowed in `fit.methods`."""
