"""`headforge gc`: remove unneeded files from this machine's store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.project.checkouts import forget, nobody_using_store, register, registered
from flows.project.needs import needs_of
from flows.project.project import ProjectError, find_root, home, store_root
from flows.project.receipts import receipts_folder
from headforge.store.objects.clearing import (
    Cleared,
    clear_blobs,
    clear_locks,
    clear_objects,
    clear_quarantine,
    clear_temporaries,
    clear_work,
    resumable_work,
)
from headforge.store.objects.store import Store


@dataclass(frozen=True)
class GcRequest:
    """Options of `headforge gc`."""

    dry_run: bool = False
    checkpoints: bool = False
    """Also remove checkpoints of interrupted runs."""
    unreferenced: bool = False
    """Also remove objects and photos that no registered project needs."""
    quarantine: bool = False
    """Also remove the copies that repairs put in quarantine."""
    forget: Sequence[Path] = field(default_factory=tuple)
    """Projects to unregister, so that their needs no longer count."""


def collect(request: GcRequest, start: Path) -> tuple[list[Cleared], dict[Path, int]]:
    """Remove files; return what was, or would be, removed, and the bytes of each resumable work folder kept."""
    project = _project(start)
    for path in request.forget:
        forget(path.resolve())
    if project is not None:
        register(project)
    store = Store(store_root())
    with nobody_using_store() if request.unreferenced else contextlib.nullcontext():
        cleared = list(_collect(request, store, project))
        return cleared, {} if request.checkpoints else resumable_work(store)


def _collect(request: GcRequest, store: Store, project: Path | None) -> Iterator[Cleared]:
    dry_run = request.dry_run
    yield from clear_work(store, dry_run=dry_run, checkpoints=request.checkpoints)
    folders = [store.root / "objects", store.root / "blobs"]
    folders += [project / "data", receipts_folder(project)] if project is not None else []
    yield from clear_temporaries(folders, dry_run=dry_run)
    if request.unreferenced:
        projects = registered()
        if not projects:
            raise ProjectError(
                "no project that uses this store is registered, so its needs are unknown.",
                "run it in a project; headforge registers projects when it runs in them.",
            )
        needs = needs_of(projects)
        yield from clear_objects(store, needs.includes, dry_run=dry_run)
        yield from clear_blobs(store, needs.blobs, dry_run=dry_run)
    if request.quarantine:
        yield from clear_quarantine(store.root / "quarantine", dry_run=dry_run)
        yield from clear_quarantine(home() / "quarantine", dry_run=dry_run)
    yield from clear_locks(store, dry_run=dry_run)


def _project(start: Path) -> Path | None:
    try:
        return find_root(start)
    except ProjectError:
        return None
