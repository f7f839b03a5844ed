"""What an object in the store consists of: names, sizes, hashes, and the recipe it was made by."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from headforge.errors import DataError
from headforge.store.files import (
    canonical_json,
    fsync_file,
    fsync_folder,
    is_relative_name,
    json_bytes,
    sha256_file,
    write_json,
)

MANIFEST = "MANIFEST.json"
FORMAT = 1
_FIELDS = {"format", "key", "recipe", "digest", "files", "note", "checksum"}
MISSING, CHANGED, STRAY = "missing", "other bytes", "does not belong here"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a stage makes. Two equal recipes make the same object."""

    stage: str
    version: int
    """The stage's hand-bumped VERSION."""
    params: Mapping[str, object]
    """The settings that matter; JSON values only, tuples count as lists."""
    inputs: Mapping[str, str]
    """Content digests by input name."""
    runtime: Mapping[str, str]
    """What else changes bytes: resolved backend, device class, thread count."""

    @property
    def key(self) -> str:
        """Hex SHA-256 of the recipe's canonical JSON."""
        return hashlib.sha256(canonical_json(self.as_json()).encode()).hexdigest()

    def as_json(self) -> dict[str, object]:
        """Return the recipe as JSON values."""
        return {
            "stage": self.stage,
            "version": self.version,
            "params": dict(self.params),
            "inputs": dict(self.inputs),
            "runtime": dict(self.runtime),
        }


@dataclass(frozen=True)
class Note:
    """What a manifest says for people and for comparisons; neither key nor digest depends on it."""

    label: str = ""
    """Which item of its stage the object is, such as "subjects 0-23"."""
    made_with: Mapping[str, str] = field(default_factory=dict)
    """Package versions and instruction set: where they are equal, the same recipe gives the same bytes."""


@dataclass(frozen=True)
class FileEntry:
    """One file of an object."""

    size: int
    sha256: str
    mtime_ns: int


@dataclass(frozen=True)
class Made:
    """What the maker of a folder's files says of them."""

    files: Mapping[str, FileEntry]
    """As `settle` returned them."""
    note: Note


@dataclass(frozen=True)
class Manifest:
    """The contents of an object's MANIFEST.json."""

    key: str
    recipe: Mapping[str, object]
    files: Mapping[str, FileEntry]
    """By path below the object's folder, with forward slashes."""
    note: Note = field(default_factory=Note)

    @property
    def digest(self) -> str:
        """Hex SHA-256 over the sorted names and hashes of the files: equal for equal contents, whenever made."""
        lines = (f"{name}\0{self.files[name].sha256}\n" for name in sorted(self.files))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write MANIFEST.json, whole or not at all."""
        files = {name: asdict(entry) for name, entry in self.files.items()}
        content = {"format": FORMAT, "key": self.key, "recipe": self.recipe, "digest": self.digest, "files": files}
        if self.note != Note():
            content["note"] = asdict(self.note)
        write_json(folder / MANIFEST, content | {"checksum": _checksum(content)})


def read_manifest(folder: Path) -> Manifest:
    """Read an object's manifest; DataError if it is missing, unreadable or contradicts itself.

    Its key must be its recipe's, its names must lie inside the folder, and every byte must be as it was written; those
    written before there was a checksum are believed in their note and times.
    """
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
        content = json.loads(data)
        files = {name: FileEntry(**entry) for name, entry in content["files"].items()}
        manifest = Manifest(content["key"], content["recipe"], files, Note(**content.get("note", {})))
        consistent = _is_consistent(content, manifest) and ("checksum" not in content or data == json_bytes(content))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(path, f"{path} is not a manifest ({error}).", "run headforge verify --repair.") from error
    if not consistent:
        raise DataError(path, f"{path} contradicts itself.", "run headforge verify --repair.")
    return manifest


def _checksum(content: Mapping[str, object]) -> str:
    stated = {name: value for name, value in content.items() if name != "checksum"}
    return _hash(stated)


def _hash(value: object) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _is_consistent(content: Mapping[str, object], manifest: Manifest) -> bool:
    """Return whether the parts of a manifest agree and every file name is one inside the object's folder."""
    return (
        content["format"] == FORMAT
        and content.keys() <= _FIELDS
        and all(is_relative_name(name) for name in manifest.files)
        and all(type(n) is int for entry in manifest.files.values() for n in (entry.size, entry.mtime_ns))
        and content["digest"] == manifest.digest
        and manifest.key == _hash(manifest.recipe)
        and ("checksum" not in content or content["checksum"] == _checksum(content))
    )


def walk_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of every file below a folder but the manifest, sorted; hidden files and folders are left out.

    Symbolic links are given as they are and never followed.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in sorted([*names, *links]):
            path = Path(parent) / name
            relative = path.relative_to(folder).as_posix()
            if not name.startswith(".") and relative != MANIFEST:
                yield relative, path


def settle(folder: Path) -> dict[str, FileEntry]:
    """Make a folder's files read-only, bring them to disk and hash them.

    Whoever made the files can do this before another process seals the folder.
    """
    files: dict[str, FileEntry] = {}
    for name, path in walk_files(folder):
        if path.is_symlink():
            raise DataError(path, f"{path} is a link; an object holds files only.", "write a file instead of a link.")
        fsync_file(path)
        path.chmod(0o444)
        status = path.stat()
        files[name] = FileEntry(status.st_size, sha256_file(path), status.st_mtime_ns)
    return files


def seal(folder: Path, recipe: Recipe, made: Made) -> Manifest:
    """Write the manifest of a folder's files beside them, from what was said of them when they were settled.

    Raises DataError if they are not so.
    """
    manifest = Manifest(recipe.key, json.loads(canonical_json(recipe.as_json())), made.files, made.note)
    if wrong := damaged_files(folder, manifest, rehash=False):
        name, reason = next(iter(wrong.items()))
        raise DataError(folder / name, f"{folder / name} is not what its maker left: {reason}.", "run it again.")
    manifest.write(folder)
    (folder / MANIFEST).chmod(0o444)
    for parent in sorted({folder, *((folder / name).parent for name in made.files)}):
        fsync_folder(parent)
    return manifest


def damaged_files(folder: Path, manifest: Manifest, *, rehash: bool) -> dict[str, str]:
    """Return files that are not as the manifest says: name to `MISSING`, `CHANGED` or `STRAY`.

    Without `rehash`, a file whose size and modification time are as recorded is believed. A file whose bytes are
    right gets its recorded modification time back, so that it is hashed once only.
    """
    found: dict[str, str] = {}
    present = dict(walk_files(folder))
    for name in present.keys() - manifest.files.keys():
        found[name] = STRAY
    for name, entry in manifest.files.items():
        path = present.get(name)
        if path is None:
            found[name] = MISSING
        elif path.is_symlink() or not _matches(path, entry, rehash=rehash):
            found[name] = CHANGED
    return dict(sorted(found.items()))


def _matches(path: Path, entry: FileEntry, *, rehash: bool) -> bool:
    status = path.stat()
    if status.st_size != entry.size:
        return False
    if status.st_mtime_ns == entry.mtime_ns and not rehash:
        return True
    if sha256_file(path) != entry.sha256:
        return False
    if status.st_mtime_ns != entry.mtime_ns:
        with contextlib.suppress(OSError):  # where nothing can be written it is hashed again next time
            restore_mtime(path, entry)
    return True


def restore_mtime(path: Path, entry: FileEntry) -> None:
    """Give a file with the right bytes its recorded modification time."""
    os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))
