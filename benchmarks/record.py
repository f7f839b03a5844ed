"""Shared parts of the benchmarks: the machine record, arguments and output of results."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import torch

from headforge.render.splatting.cpu import instruction_set
from headforge.render.threads import kernel_threads

PACKAGES = ("torch", "numba", "llvmlite", "numpy", "pyarrow", "pillow", "webdataset", "gsplat", "embreex")


def machine_record(seeds: object) -> dict[str, object]:
    """Return date, processor, GPU, instruction set, threads, versions and seeds of this run."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": processor_name(),
        "card": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "isa": instruction_set(),
        "threads": {"torch": torch.get_num_threads(), "kernels": kernel_threads()},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "seeds": seeds,
    }


def processor_name() -> str:
    """Return the processor's name as the operating system reports it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def best_ms(run: Callable[[], object], n_runs: int = 15, clock: Callable[[], float] = time.process_time) -> float:
    """Return milliseconds: the minimum over n_runs after one warm-up run."""
    run()
    times = []
    for _ in range(n_runs):
        start = clock()
        run()
        times.append(clock() - start)
    return 1e3 * min(times)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark; `description` is the module's docstring."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--out", type=Path, help="write the result to this file")
    return parser


def write(line: str) -> None:
    """Write one line to standard output and flush it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def finish(result: Mapping[str, object], options: argparse.Namespace) -> None:
    """Write `--out`, print the end of the table, and with `--json` all but the rows as one last line of JSON."""
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    summary = {name: value for name, value in result.items() if name != "rows"}
    for name, value in summary.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        write(f"{name:>28}  {value:.4g}" if isinstance(value, float) else f"{name:>28}  {value}")
    if options.json:
        write(json.dumps(summary))
