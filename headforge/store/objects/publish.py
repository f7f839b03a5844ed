"""Publishing of objects: independent copies of files, and folders that match a manifest exactly."""

from __future__ import annotations

import errno
import fcntl
import shutil
from pathlib import Path

from headforge.errors import StoreError
from headforge.store.files import atomic_path, sha256_file, storage_errors
from headforge.store.objects.manifest import FileEntry, Manifest

FICLONE = 0x40049409
"""ioctl of Linux that shares a file's blocks copy-on-write (linux/fs.h)."""
_NO_REFLINK = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM}


class DamagedObjectError(StoreError):
    """The bytes of an object's file differ from its manifest."""


def clone_or_copy(source: Path, target: Path) -> bool:
    """Fill `target` with the bytes of `source`: by reflink if the file system supports it (True), else by copying."""
    with source.open("rb") as reader, target.open("wb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), FICLONE, reader.fileno())
            return True
        except OSError as error:
            if error.errno not in _NO_REFLINK:
                raise
        shutil.copyfileobj(reader, writer, 1 << 20)
    return False


def publish_file(source: Path, entry: FileEntry, target: Path) -> bool:
    """Make `target` an independent file with the entry's bytes; return False if it already was one.

    Raises DamagedObjectError and leaves `target` unchanged if the source has other bytes.
    """
    if _is_own_copy(target, entry):
        return False
    with atomic_path(target) as temporary:
        clone_or_copy(source, temporary)
        if sha256_file(temporary) != entry.sha256:
            raise DamagedObjectError(source, f"{source} is damaged: its bytes have another hash.", "make it again.")
    return True


def _is_own_copy(target: Path, entry: FileEntry) -> bool:
    if target.is_symlink() or not target.is_file():
        return False
    status = target.stat()
    return status.st_nlink == 1 and status.st_size == entry.size and sha256_file(target) == entry.sha256


def publish_folder(source: Path, manifest: Manifest, destination: Path) -> int:
    """Make `destination` contain exactly the manifest's files, each replaced atomically; return the number written.

    Correct files stay untouched; all other files in `destination` are removed.
    """
    with storage_errors(destination):
        if destination.is_symlink():
            destination.unlink()
        destination.mkdir(parents=True, exist_ok=True)
        wanted = {destination / name for name in manifest.files}
        folders = {parent for path in wanted for parent in path.parents}
        _remove_strays(destination, wanted, folders)
        return sum(publish_file(source / name, entry, destination / name) for name, entry in manifest.files.items())


def _remove_strays(folder: Path, wanted: set[Path], folders: set[Path]) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            if path in folders:
                _remove_strays(path, wanted, folders)
            else:
                shutil.rmtree(path)
        elif path not in wanted:
            path.unlink()
