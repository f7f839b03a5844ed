"""Growing a dataset every night, in a separate checkout; the user's branches get no commits."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from flows.project.project import MIN_FREE_BYTES, OUTCOME_VARIABLE, PARENT_RUN_VARIABLE, home, require_space
from flows.run.outcome import EXIT_DONE, Outcome, read_outcome
from flows.services.processes import end_processes, family
from flows.stages import stage_named
from headforge.errors import ConfigError, HeadforgeError, InputError
from headforge.store.files import write_bytes, write_json
from headforge.synth.config import SynthesizeConfig

MARK = "headforge.nightly"
"""Git setting that marks checkouts created by the schedule, which it may overwrite."""
KEY = "synthesize.n_subjects"


class NightError(HeadforgeError):
    """A nightly run did not finish; the next one resumes from it."""


@dataclass(frozen=True)
class Plan:
    """Goal of a nightly run."""

    before: int
    """Number of subjects that the dataset has."""
    goal: int
    """Number of subjects to reach; equal to `before` if there is nothing to do."""


@dataclass(frozen=True)
class Progress:
    """Result of the nightly runs so far."""

    n_subjects: int = 0
    settings: tuple[str, ...] = ()
    """Assignments with which the dataset was made; other ones start a new dataset."""
    experiment: str = ""
    """DVC experiment of the last nightly run."""


def default_checkout(project: Path) -> Path:
    """Return the default checkout of a project's nightly runs."""
    digest = hashlib.sha256(str(project).encode()).hexdigest()[:8]
    return home() / "nightly" / f"{project.name}-{digest}"


def prepare_checkout(project: Path, checkout: Path) -> Path:
    """Bring the checkout to the project's last commit, without uncommitted changes; return the project's copy in it.

    Changes in the checkout are discarded. Raises InputError for a folder that this function did not create.
    """
    top = Path(_git(project, "rev-parse", "--show-toplevel"))
    if not checkout.exists():
        checkout.parent.mkdir(parents=True, exist_ok=True)
        _git(project, "clone", "--quiet", "--no-hardlinks", "--no-checkout", str(top), str(checkout))
        _git(checkout, "config", MARK, "true")
        _git(checkout, "config", "user.name", "headforge")
        _git(checkout, "config", "user.email", "headforge@localhost")
    if not (checkout / ".git").is_dir() or _git(checkout, "config", "--default", "false", MARK) != "true":
        raise InputError(
            checkout, f"{checkout} was not created by the schedule, and would be overwritten.",
            "give a path that does not exist yet.",
        )  # fmt: skip
    _git(checkout, "fetch", "--quiet", "--no-tags", str(top), "HEAD")
    _git(checkout, "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
    return checkout.resolve() / project.resolve().relative_to(top)


def plan_night(config: SynthesizeConfig, done: int, subjects_per_night: int, target_subjects: int) -> Plan:
    """Return the goal of a nightly run: whole shards, so that no shard is built twice, and at most the target."""
    for name, value in (("subjects_per_night", subjects_per_night), ("target_subjects", target_subjects)):
        if value < 1:
            raise ConfigError(name, value, f"{name} is {value}, expected at least 1.", f"give {name} of 1 or more.")
    before = max(done, config.n_subjects)
    step = config.subjects_per_shard
    goal = -(-(before + subjects_per_night) // step) * step
    return Plan(before, max(before, min(goal, target_subjects)))


def read_progress(checkout: Path, settings: Sequence[str]) -> Progress:
    """Return the result of the earlier nightly runs with these settings."""
    try:
        found = Progress(**json.loads(_beside(checkout, ".json").read_text()))
    except (OSError, ValueError, TypeError):
        return Progress()
    return found if tuple(found.settings) == tuple(settings) else Progress()


def grow(root: Path, checkout: Path, plan: Plan, settings: Sequence[str], date: str, parent_run: str) -> str:
    """Run the stage as the DVC experiment nightly-DATE; return the experiment's name.

    Raises NightError if the stage fails; its finished shards are in the store, so that the next nightly run resumes.
    """
    _require_space(root, plan)
    name = _free_name(checkout, f"nightly-{date}")
    assignments = [f"{KEY}={plan.goal}", *settings]
    command = [sys.executable, "-m", "dvc", "exp", "run", "--name", name]
    command += [part for text in assignments for part in ("--set-param", text)]
    with tempfile.TemporaryDirectory(prefix="headforge-") as folder:
        outcome_file = Path(folder) / "outcome.json"
        environment = {OUTCOME_VARIABLE: str(outcome_file), PARENT_RUN_VARIABLE: parent_run}
        exit_code, said = _run([*command, "synthesize"], root, environment)
        outcome = read_outcome(outcome_file)
    if exit_code:
        log = _beside(checkout, ".log")
        write_bytes(log, said.encode())
        raise NightError(_why(outcome, said), f"see {log}; the next nightly run resumes from the finished shards.")
    write_json(_beside(checkout, ".json"), asdict(Progress(plan.goal, tuple(settings), name)))
    return name


def _run(command: Sequence[str], root: Path, environment: dict[str, str]) -> tuple[int, str]:
    process = subprocess.Popen(
        command, cwd=root, env=dict(os.environ) | environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        said = process.communicate()[0]
    except BaseException:
        # Otherwise DVC leaves the stage running.
        end_processes(family(psutil.Process(process.pid)))
        raise
    return process.returncode, said


def _why(outcome: Outcome | None, said: str) -> str:
    if outcome is not None and outcome.exit_code != EXIT_DONE:
        return outcome.message
    lines = said.strip().splitlines() or ["DVC gave no reason"]
    return next((line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")), lines[-1])


def _require_space(root: Path, plan: Plan) -> None:
    """Require disk space for the new shards in store, DVC's cache and folder; the folder is rewritten as a whole."""
    data = root / stage_named("synthesize").output
    n_bytes = sum(path.stat().st_size for path in data.rglob("*") if path.is_file()) if data.is_dir() else 0
    per_subject = n_bytes / max(1, plan.before)
    needed = per_subject * (plan.goal + 2 * (plan.goal - plan.before))
    require_space(root, home(), n_bytes=int(needed) + MIN_FREE_BYTES)


def _free_name(checkout: Path, wanted: str) -> str:
    taken = {
        line.rpartition("/")[2] for line in _git(checkout, "for-each-ref", "--format=%(refname)", "refs/exps").split()
    }
    number = 1
    name = wanted
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name


def _beside(checkout: Path, suffix: str) -> Path:
    return checkout.with_name(checkout.name + suffix)


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise InputError(
            folder, f"git {arguments[0]} does not work in {folder}: {said[-1] if said else 'no reason given'}.",
            "the schedule needs a git repository with at least one commit.",
        )  # fmt: skip
    return done.stdout.strip()
