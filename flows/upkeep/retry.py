"""`headforge retry --failed`: run the failed items again; the others are found in the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flows.project.params import load_settings
from flows.project.project import ProjectError, find_root
from flows.project.sections import stage_settings
from flows.run.driver import run_request
from flows.run.failures import FailedRun, plain, read_failures
from flows.run.summary import Request, Summary
from flows.stages import STAGE_NAMES
from headforge.errors import InputError


def retry(start: Path, stage: str | None) -> Summary:
    """Run one or all stages with failed items again; raises ProjectError if their settings have changed since."""
    if stage is not None and stage not in STAGE_NAMES:
        raise InputError(stage, f"there is no stage '{stage}'.", f"there are: {', '.join(STAGE_NAMES)}.")
    root = find_root(start)
    failed = {name: run for name, run in read_failures(root).items() if stage in (None, name)}
    if not failed:
        print("retry: no item failed last time; 'headforge run' resumes interrupted work.")
        return Summary(details={"retried": {}})
    for name, run in failed.items():
        _require_same_settings(root, name, run)
        for item in run.items:
            print(f"retry: {name}/{item.label}, which failed: {item.reason}")
    summary = run_request(Request(stages=tuple(failed)), root)
    summary.details["retried"] = {name: [item.label for item in run.items] for name, run in failed.items()}
    summary.details["still_failed"] = {
        name: _labels(run) for name, run in read_failures(root).items() if name in failed
    }
    return summary


def _labels(run: FailedRun) -> list[str]:
    return [item.label for item in run.items]


def _require_same_settings(root: Path, stage: str, run: FailedRun) -> None:
    settings = load_settings(root)
    now: Mapping[str, object] = plain(stage_settings(stage, settings.sections, settings.methods))
    changed = [key for key in sorted(now.keys() | run.settings.keys()) if now.get(key) != run.settings.get(key)]
    if changed:
        lines = [f"{key}: {run.settings.get(key)} -> {now.get(key)}" for key in changed]
        raise ProjectError(
            f"the settings of {stage} have changed since its items failed: {'; '.join(lines)}.",
            f"restore them to retry those items, or run the stage with the new settings: headforge {stage}",
        )
