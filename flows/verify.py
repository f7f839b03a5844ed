"""`headforge verify`: hash every copy again, in store, workspace and DVC cache."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from flows.driver import Request, run_request
from flows.outcome import EXIT_DONE, Rejection
from flows.project import find_root, home, only_run, store_root
from flows.provenance import locked_outputs
from flows.stages import DVC_CACHE, STAGE_NAMES
from headforge.errors import StoreError
from headforge.store.objects import Store

REPAIR_HELP = "headforge verify --repair puts bad copies aside and makes them again."


def verify(start: Path, repair: bool) -> list[Rejection]:
    """What is damaged, or still is after the repair."""
    root = find_root(start)
    with only_run(root):
        in_cache, in_workspace = list(damaged_cache(root)), list(damaged_workspace(root))
        in_store = Store(store_root()).verify(repair=repair, candidates=(root / DVC_CACHE, root / "data"))
        found = [Rejection(str(item.path), f"{item.reason} {item.outcome}".strip(), REPAIR_HELP) for item in in_store]
        found += [Rejection(str(path), "its bytes are not those it is named for", REPAIR_HELP) for path in in_cache]
        found += [Rejection(str(path), "its bytes are not those in dvc.lock", REPAIR_HELP) for path in in_workspace]
        for item in found:
            print(item)
        if repair:
            for path in (*in_cache, *in_workspace):
                _put_aside(root, path)
    if not repair or not found:
        return found
    summary = run_request(Request(), root)
    if summary.exit_code != EXIT_DONE and not summary.rejected:
        raise StoreError(root, f"not everything could be made again: {summary.message}", "run 'headforge run'.")
    return [Rejection(str(path), "still damaged") for path in (*damaged_cache(root), *damaged_workspace(root))]


def damaged_cache(root: Path) -> Iterator[Path]:
    """Objects of DVC's cache whose MD5 is not their name."""
    for path in sorted((root / DVC_CACHE).glob("??/*")):
        if path.is_file() and not path.name.endswith(".tmp") and md5_file(path) != path.parent.name + path.name[:30]:
            yield path


def damaged_workspace(root: Path) -> Iterator[Path]:
    """Published files that differ from what dvc.lock and DVC's cache say of them; missing ones included."""
    for name, md5 in locked_outputs(root, STAGE_NAMES).items():
        if not md5.endswith(".dir"):
            wanted = {root / name: md5}
        else:
            listing = root / DVC_CACHE / md5[:2] / md5[2:]
            if not listing.is_file() or md5_file(listing) != md5.removesuffix(".dir"):
                continue
            wanted = {root / name / item["relpath"]: item["md5"] for item in json.loads(listing.read_text())}
        for path, expected in wanted.items():
            if not path.is_file() or md5_file(path) != expected:
                yield path


def md5_file(path: Path) -> str:
    """Hex MD5 of a file, which is what DVC names objects by."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _put_aside(root: Path, path: Path) -> None:
    if path.is_file():
        place = home() / "quarantine" / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, place)
