"""`headforge doctor`: look at everything a run rests on, and say how to mend what is wrong."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flows.project.project import ProjectError, find_root, home, quiet_environment, store_root
from flows.upkeep.health import checks
from flows.upkeep.health.checks import BAD, INFO, LIMIT, OK, Finding
from headforge.errors import HeadforgeError

SCHEDULE_TIMEOUT_S = 60.0
N_COPIES = 3


def examine(start: Path, *, schedule: bool) -> Iterator[Finding]:
    """Yield the findings, each as soon as it is known; with `schedule` also whether a schedule fires, which is slow."""
    try:
        root = find_root(start)
    except ProjectError:
        root = None
    yield from checks.python_and_packages(root)
    yield from checks.extras(root)
    home_is_fine = True
    for finding in checks.state_folder():
        home_is_fine &= finding.level != BAD
        yield finding
    yield from checks.clock(root)
    if not home_is_fine:
        return
    quiet_environment()
    yield from checks.project_state(root)
    yield from checks.free_space(root)
    yield from checks.recorders()  # before a server starts, which puts a broken one aside
    yield from _processor()
    if root is not None:
        yield from _dataset_space(root)
        yield from _assets(root)
    yield from _server(schedule=schedule)


def _processor() -> Iterator[Finding]:
    from headforge.render.splatting.cpu import instruction_set  # numba comes with it

    isa = instruction_set()
    n_cores, n_all = len(os.sched_getaffinity(0)), os.cpu_count()
    fix = "results are right, kernels slower; unset NUMBA_CPU_FEATURES and NUMBA_ENABLE_AVX if they are set."
    is_wide = isa != "generic"
    yield Finding("processor", OK if is_wide else LIMIT, f"{isa}, {n_cores} of {n_all} cores", "" if is_wide else fix)
    threads = {name: os.environ.get(name, "") for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}
    many = {name: value for name, value in threads.items() if value not in ("", "1")}
    if many:
        found = ", ".join(f"{name}={value}" for name, value in many.items())
        yield Finding("threads", LIMIT, f"{found}: workers would get in one another's way", f"unset {' '.join(many)}")
    else:
        yield Finding("threads", OK, "one per worker process")


def _dataset_space(root: Path) -> Iterator[Finding]:
    """Compare the space that the configured dataset needs, measured on one subject, with the free space."""
    from flows.project.params import load_settings  # torch comes with it
    from flows.upkeep.planning.plan import has_reflinks
    from headforge.progress import SILENT
    from tasks.inputs.generators import generator_asset
    from tasks.synthesize import shard_item

    try:
        settings = load_settings(root)
        config = settings["synthesize"]
        reflinks = has_reflinks(root)
        asset = generator_asset(config, settings.assets, store_root())
        n_drawn = 1 if config.is_trained else config.views_per_subject  # a trained generator takes seconds for a view
        item = shard_item(dataclasses.replace(config, views_per_subject=n_drawn), range(1), asset)
        with tempfile.TemporaryDirectory(dir=home()) as folder:
            item.function(*item.args, Path(folder), SILENT)
            per_subject = sum(path.stat().st_size for path in Path(folder).iterdir())
        per_subject = per_subject * config.views_per_subject // n_drawn
    except HeadforgeError as error:
        yield Finding("settings", BAD, error.message, error.help)
        return
    n_bytes = per_subject * config.n_subjects
    needed = n_bytes if reflinks else N_COPIES * n_bytes
    free = min(shutil.disk_usage(home()).free, shutil.disk_usage(root).free)
    found = f"{config.n_subjects} subjects take about {needed / 1e9:.2f} GB"
    if reflinks:
        yield Finding("reflinks", OK, "store, workspace and DVC cache share their blocks")
    else:
        fix = (
            "put HEADFORGE_HOME and the project on one XFS, Btrfs or bcachefs file system to save two of three copies."
        )
        yield Finding("reflinks", INFO, "not here: store, workspace and DVC cache each have a copy", fix)
    if needed > free:
        fix = "free some space, take a larger disk, or set synthesize.n_subjects lower."
        yield Finding("dataset's space", BAD, f"{found}, {free / 1e9:.2f} GB are free", fix)
    else:
        yield Finding("dataset's space", OK, f"{found}, {free / 1e9:.1f} GB are free")


def _assets(root: Path) -> Iterator[Finding]:
    from flows.project.params import load_settings
    from flows.upkeep.health.asset_checks import asset_findings, card_findings, visible_cards  # torch comes with it

    try:
        settings = load_settings(root)
    except HeadforgeError:  # said above
        return
    yield from asset_findings(settings)
    yield from card_findings(settings, root, visible_cards())


def _server(*, schedule: bool) -> Iterator[Finding]:
    from flows.services.server import prefect_server  # torch and the rest have been looked at by now

    try:
        with prefect_server() as server:
            yield Finding("server", OK, f"Prefect answers at {server.url}")
    except HeadforgeError as error:
        yield Finding("server", BAD, error.message, error.help)
        return
    if not schedule:
        return
    from flows.upkeep.health.schedule_check import schedule_fires  # Prefect comes with it

    taken_s = schedule_fires(SCHEDULE_TIMEOUT_S)
    if taken_s is None:
        fix = "compare versions with constraints.txt (see above); then look at the server's log with 'headforge up'."
        yield Finding("schedule", BAD, f"no scheduled run in {SCHEDULE_TIMEOUT_S:.0f} s", fix)
    else:
        yield Finding("schedule", OK, f"a scheduled run ended well after {taken_s:.0f} s")
