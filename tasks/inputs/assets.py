"""Weights of other projects as inputs of stages: params.yaml names them, the store has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headforge.priors.assets import Asset, resolve_asset
from headforge.priors.kinds import KINDS
from headforge.store.objects.store import Store


def named_asset(name: str, kind: str, assets: Mapping[str, str], store: Path) -> Asset:
    """Return the asset that the section `assets` of params.yaml calls `name`, of the kind asked for.

    Its `sha256` is what stands for it in a recipe's inputs; its `folder` is read-only and the same for every worker
    that sees the store. Raises ConfigError with the command that adds it.
    """
    return resolve_asset(Store(store), KINDS, name, assets, kind)
