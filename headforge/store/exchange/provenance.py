"""`provenance.json` of an export: source and licences of its data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import headforge
from headforge.store.dataset.shards import Dataset
from headforge.store.exchange.frames import read_json
from headforge.store.files import sha256_file

PROVENANCE = "provenance.json"


def provenance(dataset: Dataset) -> dict[str, object]:
    """Return a dataset's provenance: generator and settings, head models, licences, whether it is synthetic."""
    described = dataset.description
    params = described.get("params", {})
    return {
        "headforge_version": headforge.__version__,
        "dataset_json_sha256": sha256_file(dataset.folder / "dataset.json"),
        "schema_version": described["schema_version"],
        "generator": described["generator"],
        "head_models": described["head_models"],
        "licences": described["licences"],
        "params": params,
        # Pictures are synthetic unless an import states that they are real.
        "synthetic_media": bool(params.get("synthetic_media", True)),
    }


def read_provenance(folder: Path) -> Mapping[str, Any]:
    """Read the provenance of an export in `folder`; empty if there is no file. Raises InputError."""
    if not (folder / PROVENANCE).is_file():
        return {}
    content = read_json(folder / PROVENANCE, "remove it, or export the data again.")
    return content if isinstance(content, dict) else {}


def stated_licences(about: Mapping[str, Any]) -> dict[str, str]:
    """Return the licences by name that an export states; empty if they are not strings."""
    licences = about.get("licences")
    if not isinstance(licences, dict) or not all(isinstance(text, str) for text in licences.values()):
        return {}
    return {str(name): text for name, text in licences.items()}
