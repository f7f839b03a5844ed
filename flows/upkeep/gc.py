"""`headforge gc`: remove what nobody needs from the store of this machine."""

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
    """What may go."""

    dry_run: bool = False
    checkpoints: bool = False
    """Also what interrupted runs could go on from."""
    unreferenced: bool = False
    """Also objects and photos that no registered project needs."""
    quarantine: bool = False
    """Also what repairs put aside."""
    forget: Sequence[Path] = field(default_factory=tuple)
    """Projects whose needs don't count any more."""


def collect(request: GcRequest, start: Path) -> tuple[list[Cleared], dict[Path, int]]:
    """Return what was removed, or would be, and how many bytes the work folders hold that were kept to go on from."""
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
                "no project that uses this store is known, so nobody knows what is needed.",
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
