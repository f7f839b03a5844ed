"""Nights: how far each goes, and that they touch nothing but their own checkout."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.nightly import nightly
from flows.services.server import prefect_server
from flows.upkeep.planning import growth
from flows.upkeep.planning.growth import (
    NightError,
    Plan,
    default_checkout,
    grow,
    plan_night,
    prepare_checkout,
    read_progress,
)
from headforge.errors import ConfigError, InputError
from headforge.store.dataset.shards import Dataset
from headforge.synth.config import SynthesizeConfig

ROOT = Path(__file__).parents[4]
CODE = ("headforge", "tasks", "flows")
SMALL = ("synthesize.views_per_subject=1", "synthesize.image_size=16", "synthesize.subjects_per_shard=2",
         "engine.workers=1")  # fmt: skip


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@localhost", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    for name in ("params.yaml", "dvc.yaml", ".dvc/config", ".dvc/.gitignore", ".dvcignore", "data/.gitignore"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for name in CODE:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("n_subjects: 240", "n_subjects: 2"))
    git(tmp_path, "init", "-q", "-b", "mine", str(root))
    git(root, "add", "-A")
    git(root, "commit", "-qm", "start")
    monkeypatch.chdir(root)
    return root


@pytest.mark.parametrize(
    ("done", "per_night", "target", "plan"),
    [
        (0, 24, 10_000, Plan(240, 264)),
        (264, 25, 10_000, Plan(264, 312)),
        (264, 24, 270, Plan(264, 270)),
        (270, 24, 270, Plan(270, 270)),
        (300, 24, 270, Plan(300, 300)),
    ],
)
def test_goal_is_whole_shards_up_to_the_target(done: int, per_night: int, target: int, plan: Plan) -> None:
    assert plan_night(SynthesizeConfig(), done, per_night, target) == plan


def test_goal_needs_positive_numbers() -> None:
    with pytest.raises(ConfigError) as error:
        plan_night(SynthesizeConfig(), 0, 0, 100)
    assert error.value.key == "subjects_per_night"


def test_checkout_follows_the_last_commit_and_drops_what_was_changed_there(project: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "nights"
    assert prepare_checkout(project, checkout) == checkout.resolve()
    (checkout / "params.yaml").write_text("changed: true\n")
    (project / "params.yaml").write_text("not committed: true\n")
    (project / "new.txt").touch()
    git(project, "add", "new.txt")
    git(project, "commit", "-qm", "more")
    before = git(project, "for-each-ref")
    prepare_checkout(project, checkout)
    assert (checkout / "new.txt").is_file()
    assert "n_subjects: 2\n" in (checkout / "params.yaml").read_text()
    assert git(project, "for-each-ref") == before


def test_folder_of_somebody_else_is_refused(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "precious"
    git(tmp_path, "clone", "-q", str(project), str(other))
    (other / "params.yaml").write_text("precious: true\n")
    with pytest.raises(InputError, match="would be overwritten"):
        prepare_checkout(project, other)
    assert (other / "params.yaml").read_text() == "precious: true\n"


def test_night_that_fails_does_not_count(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = tmp_path / "nights"
    root = prepare_checkout(project, checkout)
    monkeypatch.setattr(growth, "_run", lambda *_: (1, "Running\nERROR: the disk is gone\n"))
    with pytest.raises(NightError, match="the disk is gone"):
        grow(root, checkout, Plan(2, 4), SMALL, "2030-01-01", "")
    assert read_progress(checkout, SMALL).n_subjects == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_small_nights(project: Path) -> None:
    branch = git(project, "rev-parse", "mine")
    checkout = default_checkout(project)
    with prefect_server(), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        name = nightly(subjects_per_night=2, target_subjects=4, settings=SMALL, date="2030-01-01")
        again = nightly(subjects_per_night=2, target_subjects=4, settings=SMALL, return_state=True)
    assert name == "nightly-2030-01-01"
    assert again.name == "Nothing to do"
    assert len(Dataset(checkout / "data" / "synthetic").subject_ids()) == 4
    assert read_progress(checkout, SMALL).n_subjects == 4
    assert read_progress(checkout, ()).n_subjects == 0, "another dataset"
    assert "nightly-2030-01-01" in git(checkout, "for-each-ref", "refs/exps")
    assert git(project, "rev-parse", "mine") == branch
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "for-each-ref", "refs/exps") == ""
    assert growth._free_name(checkout, "nightly-2030-01-01") == "nightly-2030-01-01-2"
