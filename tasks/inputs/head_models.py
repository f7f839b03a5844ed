"""Head models that params.yaml names: FLAME and ICT-FaceKit, from the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headforge.priors.assets import Asset, find_asset, resolve_asset
from headforge.priors.head_models import FLAME, ICT
from headforge.priors.kinds import KINDS
from headforge.store.objects.store import Store


def head_asset(name: str, assets: Mapping[str, str], store: Path) -> Asset | None:
    """Return the asset `name` of the kind flame or ict; None if the name is empty.

    Raises ConfigError, with the command that fixes it, if there is no such asset or it is not a head model.
    """
    if not name:
        return None
    is_ict = name in assets and find_asset(Store(store), ICT, assets[name]) is not None
    return resolve_asset(Store(store), KINDS, name, assets, (ICT if is_ict else FLAME).name)
