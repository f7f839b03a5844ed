"""`headforge plan` against the run it predicts: three shards measured, ten times as many run for real.

    python benchmarks/plan.py --json --out benchmarks/results/plan.json

Both work in a clone of the last commit with a store of their own, so that the run makes every shard. Processor time is
compared besides wall time: it does not depend on other load.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import arguments, finish, machine_record

ROOT = Path(__file__).parents[1]


def headforge(project: Path, home: Path, *command: str) -> tuple[dict[str, object], float, float]:
    """Run a command; return its last line of JSON, wall and processor seconds."""
    environment = dict(os.environ) | {"HEADFORGE_HOME": str(home)}
    environment.pop("PREFECT_API_URL", None)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *command, "--json"], cwd=project, env=environment, check=True,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    wall_s, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout.splitlines()[-1]), wall_s, cpu_s


def main() -> None:
    """Compare the prediction with the run."""
    parser = arguments(__doc__)
    parser.add_argument("--shards", type=int, default=3, help="shards that plan measures")
    parser.add_argument("--factor", type=int, default=10, help="shards of the run, as a multiple of those measured")
    parser.add_argument("--subjects-per-shard", type=int, default=8)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    n_subjects = options.shards * options.factor * options.subjects_per_shard
    settings = [
        f"synthesize.subjects_per_shard={options.subjects_per_shard}",
        f"synthesize.views_per_subject={options.views}",
        f"synthesize.image_size={options.image_size}",
    ]
    flags = [part for text in settings for part in ("-S", text)]
    with tempfile.TemporaryDirectory(prefix="headforge-") as folder:
        project = Path(folder) / "project"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(project)], check=True)
        sizes = ["--subjects", str(n_subjects), "--workers", str(options.workers), "--shards", str(options.shards)]
        planned, plan_s, _ = headforge(project, Path(folder) / "plan", "plan", *flags, *sizes)
        more = ["-S", f"synthesize.n_subjects={n_subjects}", "-S", f"engine.workers={options.workers}"]
        _, wall_s, cpu_s = headforge(project, Path(folder) / "run", "synthesize", *flags, *more)
    prediction = planned["prediction"]
    assert isinstance(prediction, dict)
    finish(
        {
            "n_shards_measured": options.shards,
            "n_shards": prediction["n_shards"],
            "n_workers": options.workers,
            "plan_s": plan_s,
            "predicted_wall_s": prediction["wall_s"],
            "predicted_wall_s_low": prediction["wall_s_low"],
            "predicted_wall_s_high": prediction["wall_s_high"],
            "wall_s": wall_s,
            "wall_error": prediction["wall_s"] / wall_s - 1,
            "predicted_cpu_s": 3600 * prediction["cpu_hours"],
            "cpu_s": cpu_s,
            "cpu_error": 3600 * prediction["cpu_hours"] / cpu_s - 1,
            "start_up_s": prediction["start_up_s"],
            "load_1_min": os.getloadavg()[0],
            **machine_record(seeds=[0]),
            "measured": planned["measured"],
        },
        options,
    )


if __name__ == "__main__":
    main()
