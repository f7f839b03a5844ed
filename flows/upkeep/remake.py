"""`headforge remake SUBJECT VIEW`: render one view again and compare it with the stored one."""

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
    """Result of `remake`."""

    comparison: Comparison
    others: Mapping[str, tuple[str, str]] | None
    """Versions and instruction set that differ from those of the stored picture: (then, now) by name; None if the store
    has no record of them."""

    @property
    def is_good(self) -> bool:
        """Whether both are equal, or close if machine or package versions may differ."""
        return self.comparison.is_equal or (self.comparison.is_close and self.others != {})


def remake(folder: Path, subject: int, view: int, out: Path | None = None) -> Remade:
    """Render a view of a dataset again and compare it with the stored one; write it to `out` as PNG if given."""
    dataset = Dataset(folder)
    remade = remake_view(dataset, subject, view, _generator(dataset))
    comparison = compare_views(remade, dataset.sample(remade.subject_id, view))
    if out is not None:
        write_bytes(out, encode_png(remade.image))
    manifest = _manifest_of(dataset, remade.subject_id)
    return Remade(comparison, None if manifest is None else _others(manifest))


def _generator(dataset: Dataset) -> Generator[Any]:
    """Return the generator of a dataset; weights of a trained one are those that the current project names."""
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
    """Return the manifest of the stored object from which a subject's shard was published."""
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
