"""Weights of other projects as inputs of stages, named in params.yaml and kept in the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headforge.priors.assets import Asset, resolve_asset
from headforge.priors.kinds import KINDS
from headforge.store.objects.store import Store


def named_asset(name: str, kind: str, assets: Mapping[str, str], store: Path) -> Asset:
    """Return the asset of a kind that the section `assets` of params.yaml calls `name`.

    Recipes use its `sha256`; its `folder` is read-only and has the same path for all workers. Raises ConfigError, with
    the command that adds it, if it is missing.
    """
    return resolve_asset(Store(store), KINDS, name, assets, kind)
