"""Crash safety: a 16-shard run killed with SIGKILL at random moments and resumed must give the same dataset.

    python benchmarks/crash.py [--moments 20] [--json] [--out benchmarks/results/crash.json]

Each trial starts `python -m flows.synthesize` on an empty store, kills the driver, one worker or the whole process
group in turn, and runs it again. The moment is drawn over the work and not over time, so that it does not depend on
load: a random number of objects (shards, head model, page) is published, then a random part of one's time passes.
Then two drivers run at once on one store, from two projects. Checked after each trial: every file of the dataset, that
no manifest published before the second run is replaced by it, and that no temporary files remain.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.project import environment, headforge_command, make_project, stage_command
from benchmarks.record import arguments, finish, machine_record, write
from tasks.items import BEGUN_FILE

N_SHARDS = 16
SETTINGS = {
    "synthesize.n_subjects": N_SHARDS,
    "synthesize.subjects_per_shard": 1,
    "synthesize.views_per_subject": 8,
    "synthesize.n_reference_views": 1,
    "synthesize.image_size": 64,
    "engine.workers": 2,
}
VICTIMS = ("driver", "worker", "group")
N_OBJECTS = N_SHARDS + 2
"""Shards, the head model and the page."""
POLL_S = 0.005
RUN_TIMEOUT_S = 600.0


@dataclass
class Place:
    """A project and the home of its store."""

    root: Path
    home: Path

    @property
    def store(self) -> Path:
        """The store's folder."""
        return self.home / "store"

    def start(self) -> subprocess.Popen[bytes]:
        """Start the stage in a session of its own."""
        with (self.home.parent / "run.log").open("ab") as log:
            return subprocess.Popen(
                stage_command("synthesize"), cwd=self.root, env=environment(self.home) | self._outcome(),
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @contextlib.contextmanager
    def server(self) -> Iterator[None]:
        """Hold a Prefect server for all runs, so that a run is mostly work."""
        try:
            self.headforge("up")
            yield
        finally:
            self.headforge("down")

    def headforge(self, *command: str) -> None:
        """Run a command to completion."""
        subprocess.run(
            headforge_command(*command), cwd=self.root, env=environment(self.home), check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def outcome(self) -> dict[str, int]:
        """Return the last run's summary."""
        return json.loads(Path(self._outcome()["HEADFORGE_OUTCOME"]).read_text())

    def dataset(self) -> dict[str, str]:
        """Return the SHA-256 of every published file."""
        folder = self.root / "data" / "synthetic"
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def published(self) -> dict[str, tuple[int, int]]:
        """Return the inode and modification time of each object's manifest."""
        found = {path.parent.name: path.stat() for path in self.store.glob("objects/??/*/MANIFEST.json")}
        return {key: (status.st_ino, status.st_mtime_ns) for key, status in found.items()}

    def has_begun(self) -> bool:
        """Return whether a worker has started a shard."""
        return any(self.store.glob(f"work/*/object.*/{BEGUN_FILE}"))

    def has_made(self, n: int) -> bool:
        """Return whether this number of objects is published; for 0, whether a worker has started."""
        return len(self.published()) >= n if n else self.has_begun()

    def left_over(self) -> list[str]:
        """Return what `headforge gc` leaves of dead runs; expected to be empty."""
        self.headforge("gc")
        hidden = [path for path in (self.root / "data").glob(".*") if path.name != ".gitignore"]
        return [str(path) for path in [*self.store.glob("work/*"), *self.store.glob("objects/??/.*"), *hidden]]

    def clear(self) -> None:
        """Delete all results."""
        shutil.rmtree(self.store, ignore_errors=True)
        shutil.rmtree(self.root / "data" / "synthetic", ignore_errors=True)

    def _outcome(self) -> dict[str, str]:
        return {"HEADFORGE_OUTCOME": str(self.root.parent / f"{self.root.name}-outcome.json")}


def run(place: Place) -> tuple[int, float]:
    """Run to completion; return the shards made and the seconds since the first shard's start."""
    driver = place.start()
    while not place.has_begun() and driver.poll() is None:
        time.sleep(POLL_S)
    begun = time.monotonic()
    if driver.wait(RUN_TIMEOUT_S) != 0:
        raise RuntimeError(f"the run ended with {driver.returncode}: {place.home.parent / 'run.log'}")
    said = place.outcome()
    return said["n_items"] - said["n_hits"], time.monotonic() - begun


def workers_of(driver: int) -> list[int]:
    """Return the worker processes of a driver, started by any of its threads."""
    lists = [path.read_text() for path in Path(f"/proc/{driver}/task").glob("*/children")]
    children = " ".join(lists).split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def kill(driver: int, victim: str, choice: random.Random) -> str:
    """Send SIGKILL; return the victim: the driver if no worker is left."""
    workers = workers_of(driver)
    if victim == "group":
        os.killpg(driver, signal.SIGKILL)
    elif victim == "worker" and workers:
        os.kill(choice.choice(workers), signal.SIGKILL)
    else:
        os.kill(driver, signal.SIGKILL)
        return "driver"
    return victim


def trial(place: Place, number: int, object_s: float, reference: dict[str, str]) -> dict[str, object]:
    """Kill a run once and run again."""
    choice = random.Random(number)
    victim, moment = VICTIMS[number % len(VICTIMS)], choice.uniform(0, N_OBJECTS)
    place.clear()
    driver = place.start()
    while driver.poll() is None and not place.has_made(int(moment)):
        time.sleep(POLL_S)
    time.sleep(moment % 1 * object_s)
    victim = kill(driver.pid, victim, choice) if driver.poll() is None else "none: it had ended"
    status = driver.wait(RUN_TIMEOUT_S)
    before = place.published()
    made, _ = run(place)
    after = place.published()
    return {
        "victim": victim,
        "moment": round(moment, 2),
        "exit": status,
        "n_before": len(before),
        "n_made_again": made,
        "n_rebuilt": sum(after.get(key) != found for key, found in before.items()),
        "same": place.dataset() == reference,
        "left_over": place.left_over(),
    }


def two_drivers(folder: Path, reference: dict[str, str]) -> dict[str, object]:
    """Run two projects on one empty store at the same time."""
    home = folder / "home"
    places = [Place(make_project(folder / name, SETTINGS), home) for name in ("first", "second")]
    places[0].clear()
    drivers = [place.start() for place in places]
    statuses = [driver.wait(RUN_TIMEOUT_S) for driver in drivers]
    said = [place.outcome() for place in places]
    return {
        "exit": statuses,
        "n_made": [one["n_items"] - one["n_hits"] for one in said],
        "same": all(place.dataset() == reference for place in places),
    }


def main() -> None:
    """Run the trials."""
    parser = arguments(__doc__)
    parser.add_argument("--moments", type=int, default=20, help="number of kills")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headforge-crash-") as name:
        folder = Path(name)
        (folder / "home").mkdir()
        place = Place(make_project(folder, SETTINGS), folder / "home")
        with place.server():
            _, window_s = run(place)
            reference = place.dataset()
            rows = []
            for number in range(options.moments):
                rows.append(trial(place, number, window_s / N_OBJECTS, reference))
                write("  ".join(f"{key} {value}" for key, value in rows[-1].items()))
            both = two_drivers(folder, reference)
    result = {
        "n_shards": N_SHARDS,
        "n_moments": len(rows),
        "n_same_dataset": sum(bool(row["same"]) for row in rows),
        "n_rebuilt_after_publication": sum(int(str(row["n_rebuilt"])) for row in rows),
        "n_left_over": sum(len(list(row["left_over"])) for row in rows),  # pyright: ignore[reportArgumentType]
        "n_killed_half_way": sum(0 < int(str(row["n_before"])) < N_SHARDS for row in rows),
        "two_drivers": both,
        "window_s": window_s,
        **machine_record(seeds=list(range(options.moments))),
        "rows": rows,
    }
    finish(result, options)


if __name__ == "__main__":
    main()
