"""Weights of other projects as store objects: checked, converted once, looked up by the hash of their files.

An object holds the converted files (safetensors, or the original file where its own program reads it) and `asset.json`:
kind, sources with size and SHA-256, licences, and the converter's facts. params.yaml names an asset by the SHA-256 of
its source, so that a project uses the same weights on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headforge.errors import ConfigError, InputError
from headforge.guarded import guarded, read_json_object
from headforge.store.files import sha256_file, write_json
from headforge.store.objects.store import Note, Recipe, Store

ASSET_FILE = "asset.json"
SCHEMA_VERSION = 1
STAGE = "asset"
"""Stage name in the recipes of assets."""

Sources = Mapping[str, Path]
"""The files of an asset by role, such as {"trunk": …, "linear": …}."""


@dataclass(frozen=True)
class Options:
    """User options besides the paths."""

    trust: str = ""
    """SHA-256 of a trusted TorchScript archive."""
    repo: Path | None = None
    """A checkout of the official code, for kinds that support it."""


@dataclass(frozen=True)
class Kind:
    """One kind of asset: how its files are recognised, checked and converted."""

    name: str
    title: str
    """Short description."""
    gives: str
    """Required content of PATH, for --help."""
    licences: tuple[str, ...]
    """Ids of ledger entries."""
    version: int
    """Of the converter; a change rebuilds the object."""
    find: Callable[[Sequence[Path], Options], Sources]
    """Select the asset's files among the given paths. Raises InputError for missing or extra files."""
    convert: Callable[[Sources, Path, Options], dict[str, Any]]
    """Check the files, write a folder and return JSON facts. Raises InputError for invalid files."""
    takes_repo: bool = False
    """Whether a checkout of the official code may be run in place of ours."""


@dataclass(frozen=True)
class Asset:
    """An asset in the store."""

    kind: str
    sha256: str
    """Of the source; see `source_digest`."""
    folder: Path
    """Read-only files."""
    licences: tuple[str, ...]
    """Ids of ledger entries."""
    facts: Mapping[str, Any]
    """Facts from its converter."""
    sources: Mapping[str, Mapping[str, Any]]
    """Name, size and SHA-256 of its source files, by role."""
    is_new: bool = False
    """Whether this call created it."""


def add_asset(store: Store, kind: Kind, paths: Sequence[Path], options: Options = Options()) -> Asset:
    """Check files and convert them into a store object; the same files again are a cache hit.

    Raises InputError if they are not of the kind, and StoreError if the store can't be written.
    """
    if options.repo is not None and not kind.takes_repo:
        message = f"an asset of the kind {kind.name} can't run code of a checkout."
        raise InputError(options.repo, message, "omit --repo.")
    sources = kind.find(paths, options)
    described = {role: _described(path) for role, path in sources.items()}
    sha256 = source_digest({role: entry["sha256"] for role, entry in described.items()})

    def make(folder: Path) -> None:
        facts = kind.convert(sources, folder, options)
        about = {"schema_version": SCHEMA_VERSION, "kind": kind.name, "sha256": sha256, "sources": described,
                 "licences": list(kind.licences), "facts": facts}  # fmt: skip
        write_json(folder / ASSET_FILE, about)

    found = store.build(asset_recipe(kind, sha256), make, note=Note(kind.name), rehash=True)
    return read_asset(found.path, is_new=not found.hit)


def find_asset(store: Store, kind: Kind, sha256: str, *, rehash: bool = False) -> Asset | None:
    """Return the asset with this source if the store has it intact, else None.

    Files whose size or time differs from the manifest are hashed first; with `rehash`, all files.
    """
    found = store.get(asset_recipe(kind, sha256), rehash=rehash)
    return None if found is None else read_asset(found.path)


def resolve_asset(store: Store, kinds: Mapping[str, Kind], name: str, assets: Mapping[str, str], wanted: str) -> Asset:
    """Return the asset that params.yaml calls `name`, which must be of the kind `wanted`.

    `assets` is the section of that name. Raises ConfigError, with the command that fixes it, if there is no such name,
    if the store does not have the asset, or if it is of another kind.
    """
    add = f"headforge assets add {wanted} PATH --name {name}"
    if name not in assets:
        known = ", ".join(sorted(assets)) or "none"
        raise ConfigError("assets", name, f"params.yaml names no asset '{name}'; it names {known}.", add)
    sha256 = assets[name]
    found = find_asset(store, kinds[wanted], sha256)
    if found is not None:
        return found
    for kind in kinds.values():
        if kind.name != wanted and find_asset(store, kind, sha256) is not None:
            raise ConfigError("assets", name, f"the asset '{name}' is of the kind {kind.name}, not {wanted}.", add)
    raise ConfigError(
        "assets",
        sha256,
        f"the asset '{name}' ({wanted}, SHA-256 {sha256[:12]}…) is not in the store {store.root}.",
        add,
    )


def asset_recipe(kind: Kind, sha256: str) -> Recipe:
    """Return the recipe of an asset's object."""
    return Recipe(STAGE, kind.version, {"kind": kind.name}, {"source": sha256}, {})


def read_asset(folder: Path, *, is_new: bool = False) -> Asset:
    """Read the asset in a folder of the store."""
    path = folder / ASSET_FILE
    about = read_json_object(path, "run headforge verify --repair.")
    with guarded(path, "a readable asset's description", "run headforge verify --repair."):
        licences = tuple(about["licences"])
        return Asset(about["kind"], about["sha256"], folder, licences, about["facts"], about["sources"], is_new)


def stored_assets(store: Store) -> list[Asset]:
    """Return all assets in the store, named by a project or not; their bytes are not verified."""
    paths = [path for path in store.object_paths() if (path / ASSET_FILE).is_file()]
    return sorted((read_asset(path) for path in paths), key=lambda asset: (asset.kind, asset.sha256))


def source_digest(sha256s: Mapping[str, str]) -> str:
    """Return the SHA-256 of the file; of several, that of the lines `role\0sha256\n` sorted by role."""
    if len(sha256s) == 1:
        return next(iter(sha256s.values()))
    lines = (f"{role}\0{sha256s[role]}\n" for role in sorted(sha256s))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def one_path(paths: Sequence[Path], what: str) -> Path:
    """Return the only path. Raises InputError unless exactly one is given and exists."""
    if len(paths) != 1:
        named = " ".join(str(path) for path in paths)
        raise InputError(named, f"{len(paths)} paths were given for {what}, expected one.", "give one path.")
    if not paths[0].exists():
        raise InputError(paths[0], f"there is no '{paths[0]}'.", "check the path.")
    return paths[0]


def _described(path: Path) -> dict[str, Any]:
    try:
        return {"name": path.name, "n_bytes": path.stat().st_size, "sha256": sha256_file(path)}
    except FileNotFoundError as error:
        raise InputError(path, f"there is no file '{path}'.", "check the path.") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(path, f"'{path}' can't be read: {reason}.", "check the path and its permissions.") from error
