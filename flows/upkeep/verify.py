"""What `headforge verify` looks at: every copy, in the store, in the workspace and in DVC's cache, hashed again."""

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
    """A line now and then of how much is hashed."""

    def __init__(self) -> None:
        self._unit, self._done, self._total, self._last_line = "", 0, 0, time.monotonic()

    def start(self, n_items: int, unit: str) -> None:
        """So many are to be hashed."""
        self._unit, self._done, self._total = unit, 0, n_items

    def item_done(self, item: str, n: int = 1) -> None:
        """So many more are hashed."""
        self._done += n
        if time.monotonic() - self._last_line > LINE_INTERVAL_S:
            self._last_line = time.monotonic()
            self.say(f"{self._done}/{self._total} {self._unit}s hashed")

    def say(self, text: str) -> None:
        """Print a line."""
        print(f"verify: {text}", flush=True)


@dataclass(frozen=True)
class Finding:
    """A file or an object that is not as it should be, and what became of it."""

    path: Path
    place: str
    """`STORE`, `WORKSPACE` or `CACHE`."""
    reason: str
    key: str = ""
    """Of the object, or the MD5 that the file should have."""
    item: str = ""
    """What the object is, such as "synthesize/subjects 0-23", if it is known."""
    manifest: Manifest | None = None
    """The object's, if it can be read."""
    outcome: str = ""
    """What the repair did; empty if nothing was tried."""
    good: bool = False
    """Whether it is as it should be now."""

    def __str__(self) -> str:
        item = f" ({self.item})" if self.item else ""
        return f"{self.path}{item}: {self.reason}" + (f" -> {self.outcome}" if self.outcome else "")

    def as_json(self) -> dict[str, object]:
        """Return for programs."""
        names = ("place", "reason", "item", "outcome", "good")
        values: dict[str, object] = {name: getattr(self, name) for name in names}
        return {"path": str(self.path)} | values


def verify(start: Path) -> list[Finding]:
    """Return what is damaged; nothing is changed."""
    root = find_root(start)
    with only_run(root):
        progress = VerifyProgress()
        return damaged_store(root, progress, repair=False) + damaged_files(root, progress)


def damaged_store(root: Path, progress: VerifyProgress, *, repair: bool) -> list[Finding]:
    """Return objects and blobs that are damaged, and objects this project was made from that are gone.

    With `repair`, those are healed that have right bytes in the workspace or in DVC's cache, and the others put aside.
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
    "healed": "healed from another copy",
    "removed": "removed",
    "quarantined": "put aside",
}


def damaged_files(root: Path, progress: VerifyProgress) -> list[Finding]:
    """Return files of the workspace that are not what dvc.lock says, and objects of DVC's cache that are not their
    name.
    """
    published = published_files(root)
    cached = cached_files(root) | {root / DVC_CACHE / md5[:2] / md5[2:]: md5 for md5 in published.values()}
    progress.start(len(cached) + len(published), "file")
    found = []
    for place, files, reason in (
        (CACHE, cached, "its bytes are not those it is named for"),
        (WORKSPACE, published, "its bytes are not those in dvc.lock"),
    ):
        for path, md5 in files.items():
            if not has_md5(path, md5):
                found.append(Finding(path, place, reason if path.is_file() else "missing", md5))
            progress.item_done(path.name)
    return found + _unlisted(root)


def cached_files(root: Path) -> dict[Path, str]:
    """Return MD5 by object of DVC's cache."""
    paths = sorted((root / DVC_CACHE).glob("??/*"))
    return {path: path.parent.name + path.name[:30] for path in paths if path.is_file() and path.suffix != ".tmp"}


def published_files(root: Path) -> dict[Path, str]:
    """Return MD5 by published file, as dvc.lock and the listings in DVC's cache have it.

    Missing ones count if DVC's cache holds them; a clone that never ran a stage lacks them all, and nothing is wrong.
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
    """Return whether a file is there and has this MD5."""
    return path.is_file() and md5_file(path) == md5


def md5_file(path: Path) -> str:
    """Return hex MD5 of a file, which is what DVC names objects by."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
