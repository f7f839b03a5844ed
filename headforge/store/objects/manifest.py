"""Manifests of objects in the store: file names, sizes, hashes, and the recipe."""

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
    """All inputs that determine a stage's object. Equal recipes give the same object."""

    stage: str
    version: int
    """The stage's VERSION, incremented by hand."""
    params: Mapping[str, object]
    """The settings that affect the object; JSON values only, tuples count as lists."""
    inputs: Mapping[str, str]
    """Content digests by input name."""
    runtime: Mapping[str, str]
    """Other factors that change bytes: resolved backend, device class, thread count."""

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
    """Information in a manifest that neither key nor digest depends on."""

    label: str = ""
    """The object's item in its stage, such as "subjects 0-23"."""
    made_with: Mapping[str, str] = field(default_factory=dict)
    """Package versions and instruction set; if equal, the same recipe gives the same bytes."""


@dataclass(frozen=True)
class FileEntry:
    """One file of an object."""

    size: int
    sha256: str
    mtime_ns: int


@dataclass(frozen=True)
class Made:
    """Files of a new object as their maker settled them."""

    files: Mapping[str, FileEntry]
    """Result of `settle`."""
    note: Note


@dataclass(frozen=True)
class Manifest:
    """The contents of an object's MANIFEST.json."""

    key: str
    recipe: Mapping[str, object]
    files: Mapping[str, FileEntry]
    """By path relative to the object's folder, with forward slashes."""
    note: Note = field(default_factory=Note)

    @property
    def digest(self) -> str:
        """Hex SHA-256 over the sorted names and hashes of the files, without times."""
        lines = (f"{name}\0{self.files[name].sha256}\n" for name in sorted(self.files))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write MANIFEST.json atomically."""
        files = {name: asdict(entry) for name, entry in self.files.items()}
        content = {"format": FORMAT, "key": self.key, "recipe": self.recipe, "digest": self.digest, "files": files}
        if self.note != Note():
            content["note"] = asdict(self.note)
        write_json(folder / MANIFEST, content | {"checksum": _checksum(content)})


def read_manifest(folder: Path) -> Manifest:
    """Read an object's manifest; DataError if it is missing, unreadable or inconsistent.

    Its key must be its recipe's, its names must lie inside the folder, and every byte must be as it was written. In a
    manifest without a checksum, written by an earlier version, note and times are not checked.
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
        raise DataError(path, f"{path} is inconsistent.", "run headforge verify --repair.")
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
    """Yield name and path of every file below a folder, sorted, without the manifest and hidden files and folders.

    Symbolic links are yielded themselves and never followed.
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
    """Make a folder's files read-only, flush them to disk and hash them.

    The process that made the files can do this before another process seals the folder.
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
    """Write the manifest beside a folder's files, from the entries recorded when they were settled.

    Raises DataError if the files differ from these entries.
    """
    manifest = Manifest(recipe.key, json.loads(canonical_json(recipe.as_json())), made.files, made.note)
    if wrong := damaged_files(folder, manifest, rehash=False):
        name, reason = next(iter(wrong.items()))
        raise DataError(folder / name, f"{folder / name} differs from what the stage wrote: {reason}.", "run it again.")
    manifest.write(folder)
    (folder / MANIFEST).chmod(0o444)
    for parent in sorted({folder, *((folder / name).parent for name in made.files)}):
        fsync_folder(parent)
    return manifest


def damaged_files(folder: Path, manifest: Manifest, *, rehash: bool) -> dict[str, str]:
    """Return the files that differ from the manifest: name to `MISSING`, `CHANGED` or `STRAY`.

    Without `rehash`, a file with the recorded size and modification time counts as intact. A file with the right bytes
    gets its recorded modification time back, so that it is hashed only once.
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
        with contextlib.suppress(OSError):  # on a read-only file system the file is hashed again next time
            restore_mtime(path, entry)
    return True


def restore_mtime(path: Path, entry: FileEntry) -> None:
    """Restore the recorded modification time of a file with the right bytes."""
    os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))
