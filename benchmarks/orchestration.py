"""Orchestration overhead: wall time beyond the work, per item, and of no-op runs.

    python benchmarks/orchestration.py [--seconds 30] [--json] [--out benchmarks/results/orchestration.json]

Overhead: 4 items that sleep `--seconds` each on 2 workers, through Prefect, engine and store, from the flow's beginning
to its end; an item that sleeps takes as long on a busy machine. The workers run already: their startup and
imports occur once a run, during the first two items, of 1 s each. Per item: 100 items
without work, made and then found. No-op runs: a dataset of 300 shards of one small picture, all of them in the store;
the shards are copies of one with other names. Times are wall times, the minimum of three.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.project import environment, headforge_command, make_project, stage_command
from benchmarks.record import arguments, finish, machine_record, write
from benchmarks.sleeping import sleep
from flows.project.params import load_settings
from flows.project.project import quiet_environment
from flows.services.server import prefect_server
from headforge.progress import SILENT
from headforge.store.objects.store import Recipe, Store
from headforge.synth.shots.samplers import subject_name
from headforge.synth.synthesize import synthesize_shard
from tasks.engines.engine import Engine, EngineConfig
from tasks.engines.profiles import make_engine
from tasks.items import Built, Item
from tasks.synthesize import shard_items

N_LONG, N_SHORT, N_WORKERS = 4, 100, 2
N_SHARDS = 300
N_RUNS = 3
SETTINGS = {
    "synthesize.n_subjects": N_SHARDS,
    "synthesize.subjects_per_shard": 1,
    "synthesize.views_per_subject": 1,
    "synthesize.n_reference_views": 1,
    "synthesize.image_size": 16,
}


class Unwatched:
    """A progress reporter that reports nothing."""

    def item_begun(self, item: Item) -> Any:
        """See `tasks.building.Watch`."""
        return SILENT

    def item_ended(self, item: Item, is_hit: bool) -> None:
        """See `tasks.building.Watch`."""

    def item_failed(self, item: Item) -> None:
        """See `tasks.building.Watch`."""


def built(store: Store, engine: Engine, items: list[Item]) -> Built:
    """Build the items with a Prefect flow, as a stage does."""
    from prefect import flow  # the environment is set first
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.task_runners import ThreadPoolTaskRunner

    from tasks.building import Workshop, build_items

    runner: Any = ThreadPoolTaskRunner(max_workers=engine.n_slots)
    workshop = Workshop(store, engine, 0, Unwatched())
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        return flow(name="benchmark", task_runner=runner, validate_parameters=False)(
            lambda: build_items(workshop, items)
        )()


def timed(run: Callable[[], object]) -> float:
    """Return the seconds of wall time."""
    start = time.monotonic()
    run()
    return time.monotonic() - start


def sleepers(name: str, n: int, seconds: float) -> list[Item]:
    """Return items that only sleep."""
    recipes = [Recipe("sleep", 1, {"name": name, "number": number, "seconds": seconds}, {}, {}) for number in range(n)]
    return [Item(f"{name} {number}", recipe, sleep, (seconds,)) for number, recipe in enumerate(recipes)]


def measure_overhead(folder: Path, seconds: float) -> dict[str, float]:
    """Measure the flow's overhead as a fraction of the work, and the milliseconds per item without work."""
    os.environ["HEADFORGE_HOME"] = str(folder / "home")
    (folder / "home").mkdir()
    quiet_environment()
    store, found = Store(folder / "store"), {}
    with prefect_server():
        built(store, make_engine(EngineConfig(workers=1), folder, print), [])  # Prefect's own first use
        for profile in ("local", "dask-local"):
            with make_engine(EngineConfig(profile, workers=N_WORKERS), folder, print) as engine:
                name = profile.replace("-", "_")
                first = sleepers(f"first {profile}", N_WORKERS, 1.0)
                found[f"first_items_s_{name}"] = timed(lambda engine=engine, first=first: built(store, engine, first))
                long = sleepers(f"long {profile}", N_LONG, seconds)
                work_s = seconds * N_LONG / N_WORKERS
                wall_s = timed(lambda engine=engine, long=long: built(store, engine, long))
                found[f"overhead_share_{name}"] = wall_s / work_s - 1
                short = sleepers(f"short {profile}", N_SHORT, 0.0)
                for what in ("made", "hit"):
                    wall_s = timed(lambda engine=engine, short=short: built(store, engine, short))
                    found[f"{what}_ms_per_item_{name}"] = 1e3 * wall_s / N_SHORT
                write("  ".join(f"{key} {value:.4g}" for key, value in found.items() if key.endswith(name)))
    return found


def fill_store(root: Path, home: Path) -> None:
    """Fill a project's store with all its shards: one is made, the others are renamed copies."""
    config = load_settings(root)["synthesize"]
    first = home / "first"
    synthesize_shard(config, [0], first)
    store = Store(home / "store")
    for number, item in enumerate(shard_items(config)):
        store.build(item.recipe, lambda folder, number=number: renamed(first, folder, subject_name(number)))


def renamed(source: Path, folder: Path, subject: str) -> None:
    """Copy a shard's files with another subject's name."""
    for path in source.iterdir():
        table = pq.read_table(path)
        for index, name in enumerate(table.column_names):
            if pa.types.is_string(table.schema.field(name).type):
                column = pc.replace_substring(table[name], subject_name(0), subject)  # pyright: ignore
                table = table.set_column(index, table.schema.field(name), column)
        pq.write_table(table, folder / path.name, compression="none")


@contextlib.contextmanager
def staying_server(root: Path, home: Path) -> Iterator[None]:
    """Run the server of `headforge up`."""
    for command in ("up", "down"):
        if command == "down":
            yield
        subprocess.run(headforge_command(command), cwd=root, env=environment(home), check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip


def measure_nothing_to_do(folder: Path) -> dict[str, float]:
    """Return the seconds of no-op runs by target."""
    root, home = make_project(folder, SETTINGS), folder / "no-op-home"
    home.mkdir()
    fill_store(root, home)

    def call(command: list[str]) -> Callable[[], object]:
        return lambda: subprocess.run(
            command, cwd=root, env=environment(home), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    found = {"first_run_all_shards_found_s": timed(call(headforge_command("synthesize")))}

    def note(name: str, command: list[str]) -> None:
        found[name] = min(timed(call(command)) for _ in range(N_RUNS))
        write(f"{name} {found[name]:.2f}")

    note("dvc_repro_s", [sys.executable, "-m", "dvc", "repro", "synthesize"])
    note("headforge_nothing_changed_s", headforge_command("synthesize"))
    note("flow_all_found_private_server_s", stage_command("synthesize"))
    with staying_server(root, home):
        note("flow_all_found_s", stage_command("synthesize"))

    return found


def main() -> None:
    """Run the measurements."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="work of a long item")
    parser.add_argument("--part", choices=("all", "overhead", "no-op"), default="all", help="what to measure")
    options = parser.parse_args()
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="headforge-orchestration-") as name:
        if options.part != "no-op":
            found |= measure_overhead(Path(name), options.seconds)
        if options.part != "overhead":
            found |= measure_nothing_to_do(Path(name))
    numbers = {"seconds_of_work": options.seconds, "n_shards": N_SHARDS, "load_before": os.getloadavg()[0]}
    finish({**found, **numbers, **machine_record(seeds=[])}, options)


if __name__ == "__main__":
    main()
