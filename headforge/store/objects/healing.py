"""Repair of damaged files from other copies of the same bytes."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from headforge.store.files import atomic_path, sha256_file
from headforge.store.objects.manifest import STRAY, FileEntry, Manifest, restore_mtime, walk_files
from headforge.store.objects.publish import DamagedObjectError, clone_or_copy


def heal(path: Path, manifest: Manifest, damage: dict[str, str], candidates: Sequence[Path]) -> dict[str, str]:
    """Repair an object's files; return "healed", "removed" or "" (no intact copy found) by name."""
    outcome: dict[str, str] = {}
    for name, reason in damage.items():
        target = path / name
        if reason == STRAY:
            remove(target)
            outcome[name] = "removed"
            continue
        entry = manifest.files[name]
        source = find_bytes(candidates, entry.sha256, entry.size)
        outcome[name] = "healed" if source is not None and _replace(source, target, entry) else ""
    return outcome


def find_bytes(candidates: Iterable[Path], sha256: str, size: int | None = None) -> Path | None:
    """Return a file with the given hash among the candidates (files, or folders searched recursively)."""
    for candidate in candidates:
        paths = (path for _, path in walk_files(candidate)) if candidate.is_dir() else iter((candidate,))
        for path in paths:
            if path.is_symlink() or not path.is_file() or (size is not None and path.stat().st_size != size):
                continue
            if sha256_file(path) == sha256:
                return path
    return None


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with its contents, also if read-only."""
    if path.is_dir() and not path.is_symlink():
        for folder, _, _ in os.walk(path):
            Path(folder).chmod(stat.S_IRWXU)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _replace(source: Path, target: Path, entry: FileEntry) -> bool:
    if target.is_dir() and not target.is_symlink():
        return False
    try:
        with atomic_path(target) as temporary:
            clone_or_copy(source, temporary)
            if sha256_file(temporary) != entry.sha256:
                raise DamagedObjectError(source, f"{source} changed while it was read.", "run headforge verify again.")
    except DamagedObjectError:
        return False
    target.chmod(0o444)
    restore_mtime(target, entry)
    return True
