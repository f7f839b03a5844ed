"""`headforge verify`: hash all copies in the store, the workspace and DVC's cache again."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from flows.project.project import find_root, only_run, store_root
from flows.project.provenance import locked_outputs, require_listed
from flows.project.receipts import missing_objects
from flows.stages import DVC_CACHE, STAGE_NAMES
from headforge.progress import SilentProgress
from headforge.store.objects.manifest import Manifest
from headforge.store.objects.store import Store

STORE, WORKSPACE, CACHE = "store", "workspace", "DVC cache"
LINE_INTERVAL_S = 10.0
ABSENT = "the object is not in the store"


class VerifyProgress(SilentProgress):
    """Progress reporter that prints periodic lines with the number of hashed items."""

    def __init__(self) -> None:
        self._unit, self._done, self._total, self._last_line = "", 0, 0, time.monotonic()

    def start(self, n_items: int, unit: str) -> None:
        """Start counting `n_items` items, each a `unit`."""
        self._unit, self._done, self._total = unit, 0, n_items

    def item_done(self, item: str, n: int = 1) -> None:
        """Count `n` hashed items."""
        self._done += n
        if time.monotonic() - self._last_line > LINE_INTERVAL_S:
            self._last_line = time.monotonic()
            self.say(f"{self._done}/{self._total} {self._unit}s hashed")

    def say(self, text: str) -> None:
        """Print a line."""
        print(f"verify: {text}", flush=True)


@dataclass(frozen=True)
class Finding:
    """A damaged or missing file or object, and the outcome of its repair."""

    path: Path
    place: str
    """`STORE`, `WORKSPACE` or `CACHE`."""
    reason: str
    key: str = ""
    """Key of the object, or expected MD5 of the file."""
    item: str = ""
    """Name of the object's item, such as "synthesize/subjects 0-23", if it is known."""
    manifest: Manifest | None = None
    """Manifest of the object, if it can be read."""
    outcome: str = ""
    """Outcome of the repair; empty if none was tried."""
    good: bool = False
    """Whether it is intact now."""

    def __str__(self) -> str:
        item = f" ({self.item})" if self.item else ""
        return f"{self.path}{item}: {self.reason}" + (f" -> {self.outcome}" if self.outcome else "")

    def as_json(self) -> dict[str, object]:
        """Return the finding as JSON values."""
        names = ("place", "reason", "item", "outcome", "good")
        values: dict[str, object] = {name: getattr(self, name) for name in names}
        return {"path": str(self.path)} | values


def verify(start: Path) -> list[Finding]:
    """Return what is damaged, without changing anything."""
    root = find_root(start)
    with only_run(root):
        progress = VerifyProgress()
        return damaged_store(root, progress, repair=False) + damaged_files(root, progress)


def damaged_store(root: Path, progress: VerifyProgress, *, repair: bool) -> list[Finding]:
    """Return damaged objects and blobs, and missing objects from which this project's results were published.

    With `repair`, damaged ones are restored from intact copies in the workspace or DVC's cache, or else moved to
    quarantine.
    """
    store = Store(store_root())
    copies = (root / DVC_CACHE, root / "data")
    found = [
        Finding(
            item.path, STORE, item.reason, item.key, f"{item.stage}/{item.label}".strip("/"), item.manifest,
            _OUTCOMES[item.outcome], item.outcome in ("healed", "removed"),
        )
        for item in store.verify(repair=repair, candidates=copies, progress=progress)
    ]  # fmt: skip
    named = {finding.key for finding in found}
    for stage, keys in missing_objects(root).items():
        found += [Finding(store.object_path(key), STORE, ABSENT, key, stage) for key in keys if key not in named]
    return found


_OUTCOMES = {
    "": "",
    "healed": "restored from another copy",
    "removed": "removed",
    "quarantined": "moved to quarantine",
}


def damaged_files(root: Path, progress: VerifyProgress) -> list[Finding]:
    """Return workspace files that differ from dvc.lock, and objects of DVC's cache that differ from their names."""
    published = published_files(root)
    cached = cached_files(root) | {root / DVC_CACHE / md5[:2] / md5[2:]: md5 for md5 in published.values()}
    progress.start(len(cached) + len(published), "file")
    found = []
    for place, files, reason in (
        (CACHE, cached, "its content does not match its name"),
        (WORKSPACE, published, "its content does not match dvc.lock"),
    ):
        for path, md5 in files.items():
            if not has_md5(path, md5):
                found.append(Finding(path, place, reason if path.is_file() else "missing", md5))
            progress.item_done(path.name)
    return found + _unlisted(root)


def cached_files(root: Path) -> dict[Path, str]:
    """Return the MD5 of each object of DVC's cache, by path."""
    paths = sorted((root / DVC_CACHE).glob("??/*"))
    return {path: path.parent.name + path.name[:30] for path in paths if path.is_file() and path.suffix != ".tmp"}


def published_files(root: Path) -> dict[Path, str]:
    """Return the MD5 of each published file, by path, from dvc.lock and the listings in DVC's cache.

    Missing files are included only if DVC's cache has them: in a clone that never ran a stage all are missing.
    """
    wanted: dict[Path, str] = {}
    for name, md5 in locked_outputs(root, STAGE_NAMES).items():
        cached = root / DVC_CACHE / md5[:2] / md5[2:]
        if not md5.endswith(".dir"):
            if (root / name).exists() or cached.exists():
                wanted[root / name] = md5
        elif has_md5(cached, md5.removesuffix(".dir")):
            items = json.loads(cached.read_text())
            for item in items:
                require_listed(cached, item["relpath"], item["md5"])
            wanted |= {root / name / item["relpath"]: item["md5"] for item in items}
    return wanted


def _unlisted(root: Path) -> list[Finding]:
    listings = {
        root / name: root / DVC_CACHE / md5[:2] / md5[2:]
        for name, md5 in locked_outputs(root, STAGE_NAMES).items()
        if md5.endswith(".dir")
    }
    return [
        Finding(folder, WORKSPACE, "DVC's cache has lost the list of its files, so they can't be checked")
        for folder, listing in listings.items()
        if folder.is_dir() and not listing.is_file()
    ]


def has_md5(path: Path, md5: str) -> bool:
    """Return whether a file exists and has this MD5."""
    return path.is_file() and md5_file(path) == md5


def md5_file(path: Path) -> str:
    """Return the hex MD5 of a file, by which DVC names its objects."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
