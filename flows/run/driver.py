"""`headforge run` and `headforge <stage>`: ask DVC which stages have changed, and run them one by one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.project.checkouts import using_store
from flows.project.project import find_root, home, only_run, quiet_environment, require_space
from flows.project.receipts import damaged_stages, missing_objects
from flows.run.outcome import EXIT_DONE, EXIT_ITEMS
from flows.run.rejects import published_rejects
from flows.run.summary import Request, Summary
from flows.services import dvc_guard
from flows.services.dvc_calls import changed_stages
from flows.stages import stage_named

REPORT_PAGE = "index.html"


def run_request(request: Request, start: Path) -> Summary:
    """Change params.yaml as requested, then bring the project up to date. Prefect is imported only if there is work."""
    root = find_root(start)
    quiet_environment()
    with contextlib.suppress(OSError):  # only the owner of a read-only environment can install the guard
        dvc_guard.install()
    with using_store(root), only_run(root):
        _apply(root, request)
        changed = [name for name in request.stages if name in changed_stages(root)]
        if not changed:
            return _finished(root, request, _repair_store(root, request.stages))
        require_space(root, home())
        from flows.run.chain import run_chain  # imports Prefect and MLflow

        return _finished(root, request, run_chain(root, request.stages))


def _apply(root: Path, request: Request) -> None:
    if request.preset is None and not (request.assignments or request.portraits or request.videos):
        return
    from flows.project.params import change_params  # imports the settings classes and torch

    portraits = videos = landmarks = None
    if request.portraits or request.videos:
        from flows.project.intake import take_landmarks, take_portraits, take_videos  # imports dlib

        portraits = take_portraits(request.portraits, request.face) if request.portraits else None
        videos = take_videos(request.videos, request.face) if request.videos else None
        landmarks = take_landmarks(request.landmarks, videos) if videos is not None else None
    _, changes = change_params(root, request.preset, request.assignments, portraits, videos=videos, landmarks=landmarks)
    for change in changes:
        print(f"params.yaml: {change}")


def _repair_store(root: Path, stages: Sequence[str]) -> Summary:
    """Run the stages whose objects in the store are damaged, which DVC does not notice."""
    damaged = [name for name in damaged_stages(root) if name in stages]
    summary = Summary(status="done" if damaged else "nothing_to_do", stages=dict.fromkeys(stages, "unchanged"))
    for name in damaged:
        print(f"{name}: objects of the store are damaged; rebuilding them.")
        if not rebuild(root, name):
            return Summary("failed", EXIT_ITEMS, {name: "failed"}, message=f"{name} could not be rebuilt.")
        summary.stages[name] = "ran"
    for name, keys in missing_objects(root).items():
        if name in stages:
            print(f"{name}: {len(keys)} objects are no longer in the store; the results made from them are complete.")
    return summary


def rebuild(root: Path, stage: str) -> bool:
    """Run a stage without asking DVC: it builds objects missing from the store and publishes the same files again."""
    return subprocess.run([sys.executable, "-m", f"flows.{stage}"], cwd=root, check=False).returncode == 0


def _finished(root: Path, request: Request, summary: Summary) -> Summary:
    if summary.exit_code == EXIT_DONE:
        summary.rejected = published_rejects(root)
        summary.exit_code = EXIT_ITEMS if summary.rejected else EXIT_DONE
    page = root / stage_named("report").output / REPORT_PAGE
    summary.report = str(page) if page.is_file() and "report" in request.stages else ""
    return summary
