from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows.project.params import change_params, load_settings
from headforge.errors import ConfigError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    return tmp_path


def refusal(project: Path, *assignments: str, preset: str | None = None) -> ConfigError:
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(ConfigError) as caught:
        change_params(project, preset, assignments)
    assert (project / "params.yaml").read_bytes() == before
    assert str(caught.value).splitlines()[-1].startswith("help: ")
    return caught.value


def test_assignment_changes_one_line_and_keeps_comments(project: Path) -> None:
    before = (project / "params.yaml").read_text().splitlines()
    settings, changes = change_params(project, None, ["train.learning_rate=0.002"])
    after = (project / "params.yaml").read_text().splitlines()
    assert settings["train"].learning_rate == 0.002
    assert [str(change) for change in changes] == ["train.learning_rate: 0.0015 -> 0.002"]
    assert [(a, b) for a, b in zip(before, after, strict=True) if a != b] == [
        ("  learning_rate: 0.0015", "  learning_rate: 0.002")
    ]


def test_nothing_is_written_when_nothing_changes(project: Path) -> None:
    before = (project / "params.yaml").stat().st_mtime_ns
    _, changes = change_params(project, "demo", ["engine.workers=0"])
    assert not changes
    assert (project / "params.yaml").stat().st_mtime_ns == before


def test_preset_comes_before_assignments_and_the_demo_undoes_it(project: Path) -> None:
    original = (project / "params.yaml").read_text()
    settings, _ = change_params(project, "tiny", ["synthesize.n_subjects=18"])
    assert (settings["synthesize"].n_subjects, settings["synthesize"].image_size) == (18, 64)
    change_params(project, "demo")
    assert (project / "params.yaml").read_text() == original


def test_unknown_setting_names_the_nearest(project: Path) -> None:
    error = refusal(project, "synthesize.n_subject=3")
    assert error.key == "synthesize.n_subject"
    assert "did you mean synthesize.n_subjects?" in error.help


def test_unknown_section_names_the_nearest(project: Path) -> None:
    assert "did you mean train?" in refusal(project, "trian.seed=3").help


def test_unknown_preset_names_the_nearest(project: Path) -> None:
    assert "did you mean tiny?" in refusal(project, preset="tyni").help


@pytest.mark.parametrize(
    "assignment", ["synthesize.n_subjects=many", "synthesize.n_subjects=2.5", "synthesize.glasses=1", "train.seed=null"]
)
def test_wrong_type_is_refused(project: Path, assignment: str) -> None:
    assert refusal(project, assignment).key == assignment.partition("=")[0]


@pytest.mark.parametrize("assignment", ["synthesize.n_subjects=-3", "engine.workers=-1", "train.n_images_seen=0"])
def test_value_out_of_range_is_refused(project: Path, assignment: str) -> None:
    assert refusal(project, assignment).key == assignment.partition("=")[0]


@pytest.mark.parametrize("assignment", ["synthesize", "synthesize.n_subjects", "n_subjects=3"])
def test_what_is_no_assignment_is_refused(project: Path, assignment: str) -> None:
    assert "section.key=value" in refusal(project, assignment).help


def test_unknown_key_in_the_file_is_refused(project: Path) -> None:
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("n_subjects:", "n_subject:"))
    with pytest.raises(ConfigError, match="n_subject"):
        load_settings(project)


def test_file_that_is_no_yaml_is_refused(project: Path) -> None:
    (project / "params.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not YAML"):
        load_settings(project)


def test_portrait_must_be_a_hash_or_builtin(project: Path) -> None:
    assert refusal(project, "portraits.me=me.jpg").key == "portraits.me"
    settings, _ = change_params(project, portraits={"me": "a" * 64})
    assert dict(settings.portraits) == {"me": "a" * 64}


def test_small_numbers_stay_numbers_for_every_yaml_reader(project: Path) -> None:
    change_params(project, None, ["train.learning_rate=1e-5"])
    assert load_settings(project)["train"].learning_rate == 1e-5
