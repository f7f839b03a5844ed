"""Adding and listing weights of other projects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.project.checkouts import using_store
from flows.project.params import Change, change_params, load_settings
from flows.project.project import ProjectError, find_root, only_run, store_root
from headforge.priors.assets import Asset, Options, add_asset, find_asset, stored_assets
from headforge.priors.kinds import KINDS
from headforge.store.objects.store import Store


@dataclass(frozen=True)
class Added:
    """Result of `headforge assets add`."""

    asset: Asset
    changes: tuple[Change, ...]
    """Changes of params.yaml; empty outside a project, or if it named the asset already."""
    in_project: bool


@dataclass(frozen=True)
class Listed:
    """One asset that a project names or the store has."""

    name: str
    """Empty if the project does not name it."""
    sha256: str
    asset: Asset | None
    """None if the store does not have it."""


def add(kind: str, paths: Sequence[Path], options: Options, name: str, start: Path) -> Added:
    """Convert the files into the store and, if `start` is in a project, name them in params.yaml.

    Raises InputError for unusable files, ConfigError for an invalid name.
    """
    store = Store(store_root())
    try:
        root = find_root(start)
    except ProjectError:
        return Added(add_asset(store, KINDS[kind], paths, options), (), in_project=False)
    with using_store(root), only_run(root):
        asset = add_asset(store, KINDS[kind], paths, options)
        _, changes = change_params(root, assets={name: asset.sha256})
    return Added(asset, tuple(changes), in_project=True)


def listed(start: Path) -> list[Listed]:
    """Return the assets that the project at `start` names, sorted by name, then the others in the store."""
    store = Store(store_root())
    try:
        named = dict(load_settings(find_root(start)).assets)
    except ProjectError:
        named = {}
    entries = [Listed(name, sha256, stored(store, sha256)) for name, sha256 in sorted(named.items())]
    known = set(named.values())
    return entries + [Listed("", asset.sha256, asset) for asset in stored_assets(store) if asset.sha256 not in known]


def stored(store: Store, sha256: str, *, rehash: bool = False) -> Asset | None:
    """Return the asset of any kind with this source if the store has it intact; `rehash` hashes every byte."""
    found = (find_asset(store, kind, sha256, rehash=rehash) for kind in KINDS.values())
    return next((asset for asset in found if asset is not None), None)
