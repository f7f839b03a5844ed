"""`headforge remake SUBJECT VIEW`: one picture made again and compared with the stored one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.project.params import load_settings
from flows.project.project import find_root, store_root
from headforge.errors import DataError
from headforge.store.dataset.shards import Dataset
from headforge.store.files import write_bytes
from headforge.store.images import encode_png
from headforge.store.objects.manifest import Manifest, read_manifest
from headforge.store.objects.store import Store
from headforge.synth.generators import Generator
from headforge.synth.remake import Comparison, compare_views, dataset_config, remake_view
from headforge.synth.synthesize import VERSION
from tasks.environment import made_with
from tasks.inputs.generators import generator_asset, load_generator


@dataclass(frozen=True)
class Remade:
    """What came of it."""

    comparison: Comparison
    others: Mapping[str, tuple[str, str]] | None
    """What was another version or instruction set when the stored picture was made: (then, now) by name; None if the
    store knows nothing of it."""

    @property
    def is_good(self) -> bool:
        """Equal, or close where the machine or its packages may be others."""
        return self.comparison.is_equal or (self.comparison.is_close and self.others != {})


def remake(folder: Path, subject: int, view: int, out: Path | None = None) -> Remade:
    """Make a view of a dataset again and compare it; writes the remade picture to `out` as PNG if asked."""
    dataset = Dataset(folder)
    remade = remake_view(dataset, subject, view, _generator(dataset))
    comparison = compare_views(remade, dataset.sample(remade.subject_id, view))
    if out is not None:
        write_bytes(out, encode_png(remade.image))
    manifest = _manifest_of(dataset, remade.subject_id)
    return Remade(comparison, None if manifest is None else _others(manifest))


def _generator(dataset: Dataset) -> Generator[Any]:
    """Return what a dataset was drawn with; a trained generator's weights are those that the project here names."""
    config = dataset_config(dataset)
    assets = load_settings(find_root(Path.cwd())).assets if config.is_trained else {}
    asset = generator_asset(config, assets, store_root())
    return load_generator(config, None if asset is None else asset.folder)


def _others(manifest: Manifest) -> dict[str, tuple[str, str]] | None:
    then = {**manifest.note.made_with}
    if not then:
        return None
    then["VERSION"], now = str(manifest.recipe["version"]), {**made_with(), "VERSION": str(VERSION)}
    names = sorted(then.keys() | now.keys())
    pairs = {name: (then.get(name, "nothing"), now.get(name, "nothing")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _manifest_of(dataset: Dataset, subject_id: str) -> Manifest | None:
    """Return of the stored object that a subject's shard was published from."""
    path = dataset.shard_of(subject_id).relative_to(dataset.folder).as_posix()
    (sha256,) = (shard["sha256"] for shard in dataset.description["shards"] if shard["path"] == path)
    for folder in Store(store_root()).object_paths():
        try:
            manifest = read_manifest(folder)
        except DataError:
            continue
        if any(entry.sha256 == sha256 for entry in manifest.files.values()):
            return manifest
    return None
