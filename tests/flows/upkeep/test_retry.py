"""retry --failed runs the stages in which items failed, and only while they would make the same items."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli import main
from flows.project.params import change_params, load_settings
from flows.project.sections import stage_settings
from flows.run.failures import clear_failures, read_failures, record_failures
from flows.run.summary import Request, Summary
from tasks.items import Failure
from tests.flows.projects import empty_project

FAILED = Failure("subjects 0-1", "a worker process died", "run it again.", "a trace back", "abc")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = empty_project(tmp_path / "project")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    seen: list[Request] = []

    def end_well(request: Request, root: Path) -> Summary:
        seen.append(request)
        for stage in request.stages:
            clear_failures(root, stage)
        return Summary()

    monkeypatch.setattr("flows.upkeep.retry.run_request", end_well)
    return seen


def fail(root: Path, stage: str) -> None:
    record_failures(
        root, stage, stage_settings(stage, load_settings(root).sections, load_settings(root).methods), [FAILED]
    )


def headforge(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict, str]:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json"])
    code, said = ended.value.code, capsys.readouterr()
    assert isinstance(code, int)
    return code, json.loads(said.out.splitlines()[-1]), said.out + said.err


def test_failures_are_kept_until_the_stage_ends_well(project: Path) -> None:
    fail(project, "track")
    (item,) = read_failures(project)["track"].items
    assert (item.label, item.key, item.details) == ("subjects 0-1", "abc", "")
    clear_failures(project, "track")
    assert not read_failures(project)


def test_only_stages_with_failed_items_run(
    project: Path, requests: list[Request], capsys: pytest.CaptureFixture[str]
) -> None:
    fail(project, "track")
    fail(project, "synthesize")
    code, said, _ = headforge(capsys, "retry", "--failed", "track")
    assert (code, said["retried"], said["still_failed"]) == (0, {"track": ["subjects 0-1"]}, {})
    headforge(capsys, "retry", "--failed")
    assert [request.stages for request in requests] == [("track",), ("synthesize",)]
    code, said, text = headforge(capsys, "retry", "--failed")
    assert (code, said["retried"], len(requests)) == (0, {}, 2)
    assert "no item failed" in text


def test_changed_settings_are_named_and_nothing_runs(
    project: Path, requests: list[Request], capsys: pytest.CaptureFixture[str]
) -> None:
    fail(project, "synthesize")
    change_params(project, assignments=("synthesize.seed=7",))
    code, _, said = headforge(capsys, "retry", "--failed")
    assert code == 2
    assert "synthesize.seed: 0 -> 7" in said
    assert not requests


def test_settings_of_other_stages_do_not_matter(
    project: Path, requests: list[Request], capsys: pytest.CaptureFixture[str]
) -> None:
    fail(project, "synthesize")
    change_params(project, assignments=("engine.workers=2", "train.n_images_seen=64"))
    assert headforge(capsys, "retry", "--failed")[0] == 0
    assert len(requests) == 1


def test_unknown_stage(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = headforge(capsys, "retry", "--failed", "tracks")
    assert code == 2 and "synthesize, track" in said
