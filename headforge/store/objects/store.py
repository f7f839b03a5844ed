"""The content-addressed store: finished work by recipe, pictures by hash.

    objects/<k>/<key>/    a finished object: read-only files and MANIFEST.json
    blobs/<s>/<sha256>    single files by the hash of their bytes
    work/<key>/object.*/  an object in the making
    work/<key>/scratch/   what its maker needs to go on after a crash, such as checkpoints
    locks/<key>.lock      an OS file lock per key
    quarantine/           damaged objects and blobs, never used again

A folder appears in objects/ by one rename, after its bytes and its manifest have reached the disk.
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
"""Fills an empty folder with an object's files."""


@dataclass(frozen=True)
class StoredObject:
    """A finished object."""

    key: str
    path: Path
    """Its folder; the files in it are read-only."""
    hit: bool
    """False if this call made it."""


@dataclass(frozen=True)
class Damage:
    """Something in the store that is not as it should be."""

    path: Path
    reason: str
    """"no manifest", "missing", "other bytes" or "does not belong here"."""
    key: str
    """The object's key, or the blob's hash."""
    stage: str = ""
    """The stage that made the object, if it is known."""
    label: str = ""
    """Which item of the stage it is, if it is known."""
    manifest: Manifest | None = None
    """The object's, if it can be read."""
    outcome: str = ""
    """"healed" (right bytes again), "removed", "quarantined" (to be made again), or "" if nothing was done."""


class Store:
    """A content-addressed store in one folder, shared by any number of processes."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def object_path(self, key: str) -> Path:
        """Return where the object of a key lies, or would."""
        return self.root / "objects" / key[:2] / key

    def lock_path(self, key: str) -> Path:
        """Return the file whose lock the maker of a key's object holds."""
        return self.root / "locks" / f"{key}.lock"

    def work_folder(self, recipe: Recipe) -> Path:
        """Return a folder that survives a crash of the recipe's `make` and is removed when its object is finished."""
        path = self._work_path(recipe.key) / "scratch"
        with storage_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def is_intact(self, key: str) -> bool:
        """Return whether the object of a key is there and as its manifest says; files that look touched are hashed."""
        return self._is_sound(self.object_path(key))

    def get(self, recipe: Recipe, candidates: Sequence[Path] = (), *, rehash: bool = False) -> StoredObject | None:
        """Return the finished object of a recipe, or None if it has to be made.

        Files whose size or modification time differ from the manifest are hashed, with `rehash` all of them. Damaged
        ones are healed from a file with the right bytes among `candidates` (files or folders, such as the workspace or
        DVC's cache); if that fails the object goes to quarantine and None is returned.
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
        """Return the object of a recipe, made by `make(folder)` unless it is there (see `get`); `note` goes into its
        manifest.

        Whoever holds the key's lock makes it; others wait and find it. `make` gets an empty folder and leaves exactly
        the object's files there (hidden ones are dropped); what it needs to go on after a crash belongs into
        `work_folder(recipe)`. If it raises, no object appears. If it says what it made, the files are not hashed again
        here, and its note counts.
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
        """Bring a folder to exactly the object's files, by reflink or copy; returns how many files were written.

        Every byte is checked on the way. A damaged object goes to quarantine and raises DamagedObjectError: build it
        again (`build_and_publish` does).
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
        """Return `build`, then `publish`; if the object turns out damaged on the way, it is healed or made again, once."""
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
        """Return content digest: names and bytes of the object's files, without times; the input digest of what
        follows.
        """
        return self.manifest(obj).digest

    def put_blob(self, data: bytes) -> str:
        """Keep a file's bytes; returns their hex SHA-256."""
        name = hashlib.sha256(data).hexdigest()
        path = self._blob_path(name)
        if not path.is_file() or sha256_file(path) != name:
            with storage_errors(path), atomic_path(path) as temporary:
                temporary.write_bytes(data)
            path.chmod(0o444)
        return name

    def put_file(self, source: Path) -> str:
        """Return as `put_blob` for a file of any size."""
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
        """Return where the file with these bytes lies. It is not there if it never was, or was damaged: then give it
        again.
        """
        path = self._blob_path(sha256)
        if path.is_file() and sha256_file(path) != sha256:
            self._quarantine(path)
        return path

    def verify(
        self, *, repair: bool = False, candidates: Sequence[Path] = (), progress: Progress = SILENT
    ) -> list[Damage]:
        """Hash everything. With `repair`, damage is healed from `candidates` or put in quarantine."""
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
        """Return heal what is damaged from files with the right bytes; what can't be healed goes to quarantine."""
        return self.verify(repair=True, candidates=candidates)

    def object_paths(self) -> list[Path]:
        """Return the folders of all finished objects."""
        return sorted(path for path in (self.root / "objects").glob("??/*") if path.is_dir())

    def blob_paths(self) -> list[Path]:
        """Return all single files kept by hash."""
        return sorted(path for path in (self.root / "blobs").glob("??/*") if not path.name.startswith("."))

    def _work_path(self, key: str) -> Path:
        return self.root / "work" / key

    def _blob_path(self, sha256: str) -> Path:
        return self.root / "blobs" / sha256[:2] / sha256

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """Hold the key's lock; the system frees it when the process ends, however it ends."""
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
            shutil.rmtree(folder, ignore_errors=True)  # half a shard would keep a full disk full
            with contextlib.suppress(OSError):
                folder.parent.rmdir()
            raise

    def _sealed_attempt(self, key: str) -> Path | None:
        """Return what an earlier build made whose process was stopped between sealing and renaming."""
        for folder in self._work_path(key).glob("object.*"):
            with contextlib.suppress(DataError):
                manifest = read_manifest(folder)
                if manifest.key == key and not damaged_files(folder, manifest, rehash=True):
                    return folder
        return None

    def _new_attempt(self, key: str) -> Path:
        """Return an empty folder under a new name: a worker that outlived its driver may still write into the old one."""
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
        """Move a damaged object or blob away, for a person to look at; gone already is fine."""
        folder = self.root / "quarantine"
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            target = next(t for n in itertools.count() if not (t := folder / f"{path.name}.{n}").exists())
            with contextlib.suppress(FileNotFoundError):
                path.rename(target)
