"""A SLURM of one machine: `sbatch` starts the job's script in the background, `scancel` ends it."""

from __future__ import annotations

from pathlib import Path

SBATCH = """#!/bin/bash
cp "$1" "{folder}/script-$$.sh"
{refusal}
setsid bash "{folder}/script-$$.sh" > "{folder}/job-$$.log" 2>&1 &
echo $! >> "{folder}/jobs"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/bash
kill -9 -- "-$1"
echo "$1" >> "{folder}/cancelled"
"""


def install(folder: Path, refusal: str = "") -> Path:
    """Write the two commands into a folder, for the PATH; with `refusal`, sbatch takes no job and says that."""
    folder.mkdir(parents=True)
    refuse = f'echo "{refusal}" >&2; exit 1' if refusal else ""
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        path = folder / name
        path.write_text(text.format(folder=folder, refusal=refuse))
        path.chmod(0o755)
    return folder


def scripts(folder: Path) -> list[str]:
    """The scripts of the jobs so far."""
    return [path.read_text() for path in sorted(folder.glob("script-*.sh"))]


def cancelled(folder: Path) -> set[str]:
    """The ids of the jobs that were cancelled."""
    return set((folder / "cancelled").read_text().split()) if (folder / "cancelled").exists() else set()


def jobs(folder: Path) -> set[str]:
    """The ids of the jobs so far."""
    return set((folder / "jobs").read_text().split()) if (folder / "jobs").exists() else set()
