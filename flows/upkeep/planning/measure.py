"""`python -m flows.upkeep.planning.measure SCRATCH N_SHARDS`: build a few shards and measure the cost of each part.

Runs the stage `synthesize` with other shards in a scratch project, so that no output is published and no receipt
changes; the objects stay in the store. SCRATCH holds params.yaml and receives measured.json.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from flows.project.project import quiet_environment
from flows.run.outcome import EXIT_DONE, EXIT_INPUT, EXIT_INTERRUPTED
from headforge.errors import HeadforgeError
from headforge.priors.assets import Asset
from headforge.store.objects.store import Store
from headforge.synth.config import SynthesizeConfig
from headforge.synth.synthesize import assemble_dataset
from tasks.inputs.generators import generator_asset
from tasks.items import Item
from tasks.synthesize import shard_item
from tasks.timing import read_times, timed_item

if TYPE_CHECKING:
    from flows.run.stage_run import StageRun

MEASURED_FILE = "measured.json"


def missing_shards(config: SynthesizeConfig, store: Store, n_shards: int, asset: Asset | None = None) -> list[range]:
    """Return the subjects of the first shards missing from the store, past the end of the dataset if necessary."""
    step = min(config.subjects_per_shard, config.n_subjects)
    found: list[range] = []
    start = 0
    while len(found) < n_shards:
        subjects = range(start, start + step)
        if not store.object_path(shard_item(config, subjects, asset).recipe.key).is_dir():
            found.append(subjects)
        start += step
    return found


def timed_shards(
    config: SynthesizeConfig, shards: Sequence[range], times: Path, asset: Asset | None = None
) -> list[Item]:
    """Return the timed items of shards; one view of one subject warms up a worker."""
    little = dataclasses.replace(config, views_per_subject=1)
    weights = None if asset is None else asset.folder
    return [
        timed_item(shard_item(config, s, asset), (little, range(s.start, s.start + 1), weights), times) for s in shards
    ]


def measure(run: StageRun, n_shards: int) -> None:
    """Build `n_shards` missing shards and write measured.json; the body of the stage."""
    begin_s = time.time()
    config = run.settings["synthesize"]
    times = run.root / "times"
    times.mkdir()
    asset = generator_asset(config, run.settings.assets, run.store.root)
    shards = missing_shards(config, run.store, n_shards, asset)
    handed_out_s, cpu_s = time.time(), time.process_time()
    found = run.build(timed_shards(config, shards, times, asset), "shards")
    build_cpu_s = time.process_time() - cpu_s
    folders = [thing.path for thing in found]
    measured = {
        "created_s": psutil.Process().create_time(),
        "begin_s": begin_s,
        "handed_out_s": handed_out_s,
        "build_cpu_s": build_cpu_s,
        "assemble_one_s": _assemble(config, folders[:1], run.root / "one"),
        "assemble_all_s": _assemble(config, folders, run.root / "all"),
        "items": [dataclasses.asdict(time) for time in read_times(times)],
        "n_subjects": [len(subjects) for subjects in shards],
        "n_bytes": sum(path.stat().st_size for folder in folders for path in folder.iterdir()),
        "end_s": time.time(),
    }
    (run.root / MEASURED_FILE).write_text(json.dumps(measured))


def _assemble(config: SynthesizeConfig, folders: Sequence[Path], output: Path) -> float:
    start = time.monotonic()
    assemble_dataset(config, folders, output)
    return time.monotonic() - start


def main(scratch: Path, n_shards: int) -> int:
    """Run the measurement and return the exit code."""
    quiet_environment()
    from flows.run.execution import execute  # environment first, see flows/run/runner.py

    try:
        outcome = execute("synthesize", lambda run: measure(run, n_shards), scratch)
    except HeadforgeError as error:
        print(error, file=sys.stderr)
        return EXIT_INPUT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if outcome.exit_code != EXIT_DONE:
        print(outcome.message, file=sys.stderr)
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
