"""The content-addressed store: finished objects by recipe, blobs by hash.

    objects/<k>/<key>/    a finished object: read-only files and MANIFEST.json
    blobs/<s>/<sha256>    single files by the hash of their bytes
    work/<key>/object.*/  an unfinished object
    work/<key>/scratch/   what a later run needs to resume after a crash, such as checkpoints
    locks/<key>.lock      an OS file lock per key
    quarantine/           damaged objects and blobs, never used again

A folder appears in objects/ by one rename, after its bytes and its manifest were flushed to disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headforge.errors import DataError, InputError
from headforge.progress import SILENT, Progress
from headforge.store.files import DISK_ERRORS, atomic_path, fsync_folder, sha256_file, storage_errors
from headforge.store.locks import hold_lock
from headforge.store.objects.healing import find_bytes, heal, remove
from headforge.store.objects.manifest import (
    MANIFEST,
    Made,
    Manifest,
    Note,
    Recipe,
    damaged_files,
    read_manifest,
    seal,
    settle,
)
from headforge.store.objects.publish import DamagedObjectError, publish_folder

__all__ = ["Damage", "DamagedObjectError", "Manifest", "Note", "Recipe", "Store", "StoredObject"]

Make = Callable[[Path], Made | None]
"""Writes an object's files to an empty folder."""


@dataclass(frozen=True)
class StoredObject:
    """A finished object."""

    key: str
    path: Path
    """The object's folder of read-only files."""
    hit: bool
    """Whether it was a cache hit; False if this call made the object."""


@dataclass(frozen=True)
class Damage:
    """A damaged object or blob in the store."""

    path: Path
    reason: str
    """"no manifest", "missing", "other bytes" or "does not belong here"."""
    key: str
    """The object's key, or the blob's hash."""
    stage: str = ""
    """The stage that made the object, if known."""
    label: str = ""
    """The item of the stage, if known."""
    manifest: Manifest | None = None
    """The object's manifest, if it can be read."""
    outcome: str = ""
    """"healed" (right bytes again), "removed", "quarantined" (to be made again), or "" if nothing was done."""


class Store:
    """A content-addressed store in one folder, shared by any number of processes."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def object_path(self, key: str) -> Path:
        """Return the path of a key's object, whether it exists or not."""
        return self.root / "objects" / key[:2] / key

    def lock_path(self, key: str) -> Path:
        """Return the lock file held while a key's object is made."""
        return self.root / "locks" / f"{key}.lock"

    def work_folder(self, recipe: Recipe) -> Path:
        """Return a folder that survives a crash of the recipe's `make` and is removed when its object is finished."""
        path = self._work_path(recipe.key) / "scratch"
        with storage_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def is_intact(self, key: str) -> bool:
        """Return whether a key's object exists and matches its manifest; files with a new size or time are hashed."""
        return self._is_sound(self.object_path(key))

    def get(self, recipe: Recipe, candidates: Sequence[Path] = (), *, rehash: bool = False) -> StoredObject | None:
        """Return the finished object of a recipe, or None on a cache miss.

        Files whose size or modification time differ from the manifest are hashed, with `rehash` all files. Damaged
        files are repaired from a file with the right bytes among `candidates` (files or folders, such as the workspace
        or DVC's cache); if that fails the object is quarantined and None is returned.
        """
        path = self.object_path(recipe.key)
        if not path.is_dir():
            return None
        if self._is_sound(path, rehash=rehash):
            return StoredObject(recipe.key, path, hit=True)
        with self._lock(recipe.key):
            return self._get_locked(recipe.key, candidates, rehash=rehash)

    def build(
        self,
        recipe: Recipe,
        make: Make,
        candidates: Sequence[Path] = (),
        *,
        note: Note | None = None,
        rehash: bool = False,
    ) -> StoredObject:
        """Return the object of a recipe; on a cache miss make it by `make(folder)`, with `note` in its manifest.

        The process that holds the key's lock makes the object; others wait for it. `make` gets an empty folder and
        leaves exactly the object's files there (hidden files are dropped); state to resume from after a crash belongs
        into `work_folder(recipe)`. If `make` raises, no object appears. If it returns `Made`, the files are not hashed
        again, and its note is used.
        """
        key = recipe.key
        if found := self.get(recipe, candidates, rehash=rehash):
            return found
        with self._lock(key):
            if found := self._get_locked(key, candidates, rehash=rehash):
                return found
            with storage_errors(self._work_path(key)):
                made = self._sealed_attempt(key) or self._new_attempt(key)
            if not (made / MANIFEST).is_file():
                said = self._make(make, made)
                with storage_errors(made):
                    seal(made, recipe, said or Made(settle(made), note or Note()))
            with storage_errors(made):
                self._finish(made, key)
        return StoredObject(key, self.object_path(key), hit=False)

    def publish(self, obj: StoredObject, destination: Path) -> int:
        """Make a folder contain exactly the object's files, by reflink or copy; return the number of files written.

        Every byte is checked. A damaged object is quarantined and raises DamagedObjectError: build it again
        (`build_and_publish` does).
        """
        try:
            return publish_folder(obj.path, self.manifest(obj), destination)
        except (DamagedObjectError, DataError, FileNotFoundError) as error:
            with self._lock(obj.key):
                if obj.path.is_dir() and not self._is_sound(obj.path, rehash=True):
                    self._quarantine(obj.path)
            help = "build the object again; headforge run does."
            raise DamagedObjectError(obj.path, f"the object {obj.key} is damaged ({error}).", help) from error

    def build_and_publish(
        self, recipe: Recipe, make: Make, destination: Path, candidates: Sequence[Path] = ()
    ) -> StoredObject:
        """Build and publish an object; if it turns out to be damaged, repair it or make it again, once."""
        candidates = [*candidates, destination]
        obj = self.build(recipe, make, candidates)
        try:
            self.publish(obj, destination)
        except DamagedObjectError:
            obj = self.build(recipe, make, candidates)
            self.publish(obj, destination)
        return obj

    def manifest(self, obj: StoredObject) -> Manifest:
        """Return the object's manifest."""
        return read_manifest(obj.path)

    def digest(self, obj: StoredObject) -> str:
        """Return the content digest of the object's file names and bytes, the input digest for later stages."""
        return self.manifest(obj).digest

    def put_blob(self, data: bytes) -> str:
        """Store bytes as a blob; return their hex SHA-256."""
        name = hashlib.sha256(data).hexdigest()
        path = self._blob_path(name)
        if not path.is_file() or sha256_file(path) != name:
            with storage_errors(path), atomic_path(path) as temporary:
                temporary.write_bytes(data)
            path.chmod(0o444)
        return name

    def put_file(self, source: Path) -> str:
        """Store a file of any size, as `put_blob`."""
        name = sha256_file(source)
        path = self._blob_path(name)
        if not path.is_file() or sha256_file(path) != name:
            with storage_errors(path), atomic_path(path) as temporary:
                shutil.copyfile(source, temporary)
                if sha256_file(temporary) != name:
                    raise InputError(source, f"{source} changed while it was copied.", "give it when it is complete.")
            path.chmod(0o444)
        return name

    def blob(self, sha256: str) -> Path:
        """Return the path of a blob. It does not exist if the blob was never stored or was damaged."""
        path = self._blob_path(sha256)
        if path.is_file() and sha256_file(path) != sha256:
            self._quarantine(path)
        return path

    def verify(
        self, *, repair: bool = False, candidates: Sequence[Path] = (), progress: Progress = SILENT
    ) -> list[Damage]:
        """Hash all objects and blobs. With `repair`, repair damage from `candidates` or quarantine it."""
        found: list[Damage] = []
        objects, blobs = self.object_paths(), self.blob_paths()
        progress.start(len(objects) + len(blobs), "object")
        for path in objects:
            with self._lock(path.name) if repair else contextlib.nullcontext():
                found.extend(self._verify_object(path, repair=repair, candidates=candidates))
            progress.item_done(path.name)
        for path in blobs:
            if sha256_file(path) != path.name:
                found.append(self._verify_blob(path, repair=repair, candidates=candidates))
            progress.item_done(path.name)
        return found

    def repair_from(self, *candidates: Path) -> list[Damage]:
        """Repair damage from files with the right bytes; quarantine what can't be repaired."""
        return self.verify(repair=True, candidates=candidates)

    def object_paths(self) -> list[Path]:
        """Return the folders of all finished objects."""
        return sorted(path for path in (self.root / "objects").glob("??/*") if path.is_dir())

    def blob_paths(self) -> list[Path]:
        """Return the paths of all blobs."""
        return sorted(path for path in (self.root / "blobs").glob("??/*") if not path.name.startswith("."))

    def _work_path(self, key: str) -> Path:
        return self.root / "work" / key

    def _blob_path(self, sha256: str) -> Path:
        return self.root / "blobs" / sha256[:2] / sha256

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """Hold the key's lock; the system releases it when the process ends, also after a crash."""
        with hold_lock(self.lock_path(key)):
            yield

    def _is_sound(self, path: Path, *, rehash: bool = False) -> bool:
        try:
            manifest = read_manifest(path)
            return manifest.key == path.name and not damaged_files(path, manifest, rehash=rehash)
        except (DataError, FileNotFoundError):
            return False

    def _make(self, make: Make, folder: Path) -> Made | None:
        try:
            with storage_errors(folder, only=DISK_ERRORS):
                return make(folder)
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)  # a partial shard would keep a full disk full
            with contextlib.suppress(OSError):
                folder.parent.rmdir()
            raise

    def _sealed_attempt(self, key: str) -> Path | None:
        """Return the sealed folder of an earlier build that was interrupted before the rename, or None."""
        for folder in self._work_path(key).glob("object.*"):
            with contextlib.suppress(DataError):
                manifest = read_manifest(folder)
                if manifest.key == key and not damaged_files(folder, manifest, rehash=True):
                    return folder
        return None

    def _new_attempt(self, key: str) -> Path:
        """Create an empty folder under a new name; a worker that outlived its driver may still write to the old one."""
        work = self._work_path(key)
        work.mkdir(parents=True, exist_ok=True)
        for folder in work.glob("object.*"):
            shutil.rmtree(folder, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix="object.", dir=work))

    def _get_locked(self, key: str, candidates: Sequence[Path], *, rehash: bool) -> StoredObject | None:
        path = self.object_path(key)
        if not path.is_dir():
            return None
        if self._is_sound(path, rehash=rehash):
            return StoredObject(key, path, hit=True)
        self._verify_object(path, repair=True, candidates=candidates)
        return StoredObject(key, path, hit=True) if path.is_dir() else None

    def _finish(self, made: Path, key: str) -> None:
        target = self.object_path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        for path in made.iterdir():
            if path.name.startswith("."):
                remove(path)
        made.chmod(0o755)
        made.rename(target)
        fsync_folder(target.parent)
        shutil.rmtree(self._work_path(key), ignore_errors=True)

    def _verify_object(self, path: Path, *, repair: bool, candidates: Sequence[Path]) -> list[Damage]:
        try:
            manifest = read_manifest(path)
            if manifest.key != path.name:
                raise DataError(path, f"{path} holds the manifest of {manifest.key}.", "run headforge verify --repair.")
        except DataError:
            if repair:
                self._quarantine(path)
            return [Damage(path, "no manifest", path.name, outcome="quarantined" if repair else "")]
        stage = str(manifest.recipe.get("stage", ""))
        damage = damaged_files(path, manifest, rehash=True)
        outcome = dict.fromkeys(damage, "")
        if repair and damage:
            outcome = heal(path, manifest, damage, candidates)
            if not all(outcome.values()):
                self._quarantine(path)
                outcome = dict.fromkeys(damage, "quarantined")
        return [
            Damage(path / name, reason, path.name, stage, manifest.note.label, manifest, outcome[name])
            for name, reason in damage.items()
        ]

    def _verify_blob(self, path: Path, *, repair: bool, candidates: Sequence[Path]) -> Damage:
        outcome = ""
        if repair:
            source = find_bytes(candidates, path.name)
            self._quarantine(path)
            outcome = "quarantined"
            if source is not None:
                self.put_blob(source.read_bytes())
                outcome = "healed"
        return Damage(path, "other bytes", path.name, outcome=outcome)

    def _quarantine(self, path: Path) -> None:
        """Move a damaged object or blob to quarantine for inspection; a missing path is no error."""
        folder = self.root / "quarantine"
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            target = next(t for n in itertools.count() if not (t := folder / f"{path.name}.{n}").exists())
            with contextlib.suppress(FileNotFoundError):
                path.rename(target)
