"""Removal of leftovers of ended runs and of unreferenced objects from a store.

Files of a key are removed under its lock only, so that running stages are not affected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from headforge.errors import DataError
from headforge.store.files import storage_errors
from headforge.store.locks import hold_free_lock
from headforge.store.objects.healing import remove
from headforge.store.objects.manifest import Manifest, read_manifest
from headforge.store.objects.store import Store

TEMPORARY_AGE_S = 3600.0
"""Age from which a temporary file counts as a leftover; its owner is not recorded."""
WORK, LOCK, TEMPORARY, OBJECT, BLOB, QUARANTINE = (
    "work folder", "lock", "temporary file", "object", "photo", "thing put aside",
)  # fmt: skip


@dataclass(frozen=True)
class Cleared:
    """A removed path, or one that a dry run would remove."""

    path: Path
    kind: str
    n_bytes: int


def clear_work(store: Store, *, dry_run: bool, checkpoints: bool) -> Iterator[Cleared]:
    """Yield work folders of interrupted runs: attempts always, resumable state only with `checkpoints`."""
    for folder in sorted((store.root / "work").glob("*")):
        with hold_free_lock(store.lock_path(folder.name)) as is_free:
            if not is_free:
                continue
            dead = [folder] if checkpoints or not _can_go_on(store, folder) else sorted(folder.glob("object.*"))
            yield from (_clear(path, WORK, dry_run) for path in dead)


def resumable_work(store: Store) -> dict[Path, int]:
    """Return the sizes in bytes of resumable work folders."""
    folders = sorted((store.root / "work").glob("*"))
    return {folder: size_of(folder / "scratch") for folder in folders if _can_go_on(store, folder)}


def clear_locks(store: Store, *, dry_run: bool) -> Iterator[Cleared]:
    """Yield lock files that no process holds."""
    for path in sorted((store.root / "locks").glob("*.lock")):
        with hold_free_lock(path) as is_free:
            if is_free:
                yield _clear(path, LOCK, dry_run)


def clear_temporaries(folders: Collection[Path], *, dry_run: bool) -> Iterator[Cleared]:
    """Yield hidden temporary files and partly published folders unmodified for `TEMPORARY_AGE_S`."""
    newest = time.time() - TEMPORARY_AGE_S
    for folder in folders:
        for path in sorted({*folder.rglob(".*.tmp*"), *folder.glob(".*.partial")}):
            if path.exists() and max(item.lstat().st_mtime for item in (path, *path.rglob("*"))) < newest:
                yield _clear(path, TEMPORARY, dry_run)


def clear_objects(store: Store, is_needed: Callable[[Manifest], bool], *, dry_run: bool) -> Iterator[Cleared]:
    """Yield unneeded objects; those without a readable manifest are kept for `headforge verify`."""
    for path in store.object_paths():
        try:
            manifest = read_manifest(path)
        except DataError:
            continue
        if not is_needed(manifest):
            with hold_free_lock(store.lock_path(path.name)) as is_free:
                if is_free:
                    yield _clear_object(store, path, dry_run)


def clear_blobs(store: Store, needed: Collection[str], *, dry_run: bool) -> Iterator[Cleared]:
    """Yield blobs whose hash is not in `needed`."""
    for path in store.blob_paths():
        if path.name not in needed:
            yield _clear(path, BLOB, dry_run)


def clear_quarantine(folder: Path, *, dry_run: bool) -> Iterator[Cleared]:
    """Yield files and folders that a repair quarantined."""
    for path in sorted(folder.glob("*")):
        yield _clear(path, QUARANTINE, dry_run)


def size_of(path: Path) -> int:
    """Return the size in bytes of a file, or of all files in a folder; 0 if it does not exist."""
    files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(item.lstat().st_size for item in files if item.is_symlink() or item.is_file())


def _can_go_on(store: Store, folder: Path) -> bool:
    return not store.object_path(folder.name).is_dir() and size_of(folder / "scratch") > 0


def _clear(path: Path, kind: str, dry_run: bool) -> Cleared:
    cleared = Cleared(path, kind, size_of(path))
    if not dry_run:
        with storage_errors(path):
            remove(path)
    return cleared


def _clear_object(store: Store, path: Path, dry_run: bool) -> Cleared:
    cleared = Cleared(path, OBJECT, size_of(path))
    if not dry_run:
        with storage_errors(path):
            # Renamed first, so that an object is never incomplete, even if this process is killed now.
            grave = store.root / "work" / path.name / "object.removed"
            grave.parent.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)
            path.rename(grave)
            remove(grave.parent)
    return cleared
