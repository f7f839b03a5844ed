"""Each thing that can be wrong is found, with a fix; what is fine is not complained about."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from flows.cli import main
from flows.project.params import change_params
from flows.services.databases import MLFLOW, mlflow_path, opened, revisions
from flows.services.server import database
from flows.upkeep.health import checks, doctor
from flows.upkeep.health.checks import BAD, INFO, LIMIT, OK, Finding

ROOT = Path(__file__).parents[4]


def level_of(findings: Iterator[Finding], check: str) -> str:
    found = {finding.check: finding for finding in findings}[check]
    assert (found.fix == "") == (found.level == OK)
    return found.level


def pretend(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    real = checks._version
    monkeypatch.setattr(checks, "_version", lambda name: versions[name] if name in versions else real(name))


def test_bounds_are_those_of_the_project() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {Requirement(text).name: Requirement(text).specifier for text in extras["mlops"]}
    for text in checks.BOUNDS:
        assert wanted[Requirement(text).name] == Requirement(text).specifier
    assert {name.lower() for name in checks.TRAPS} == {Requirement(text).name for text in checks.BOUNDS}


@pytest.mark.parametrize(
    ("package", "version", "level"),
    [
        ("fastapi", "0.155.0", BAD),
        ("fastapi", "0.140.1", OK),
        ("sqlalchemy", "2.1.0", BAD),
        ("sqlalchemy", None, BAD),
        ("prefect", "3.9.0", BAD),
    ],
)
def test_versions_that_stop_something(
    monkeypatch: pytest.MonkeyPatch, package: str, version: str | None, level: str
) -> None:
    pretend(monkeypatch, **{package: version})
    name = next(name for name in checks.TRAPS if name.lower() == package)
    assert level_of(checks.python_and_packages(ROOT), name) == level


def test_untested_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, numpy="1.0", torch="2.13.0+cu128", scipy=None)
    pins = "numpy==2.4.6\ntorch==2.13.0  # a reason\nscipy==1.17.1\n# numpy==9\n"
    assert checks.differing_versions(pins) == {"numpy": ("1.0", "2.4.6")}
    assert level_of(checks.python_and_packages(ROOT), "constraints") == LIMIT


def test_missing_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, dvc=None, viser=None)
    assert level_of(checks.extras(ROOT), "extra mlops") == BAD
    assert level_of(checks.extras(ROOT), "extra view") == INFO


def test_project_without_a_commit(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert level_of(checks.project_state(tmp_path), "git") == BAD


def test_clock_before_the_last_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_git", lambda *_: "99999999999")
    assert level_of(checks.clock(tmp_path), "clock") == BAD


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MIN_FREE_BYTES", 1 << 60)
    assert level_of(checks.free_space(tmp_path), "disk of the home") == BAD


def test_dataset_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    change_params(tmp_path, assignments=["synthesize.views_per_subject=1", "synthesize.image_size=16"])
    assert level_of(doctor._dataset_space(tmp_path), "dataset's space") == OK
    change_params(tmp_path, assignments=[f"synthesize.n_subjects={10**7}"])
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10**9))
    assert level_of(doctor._dataset_space(tmp_path), "dataset's space") == BAD


def test_schedule_that_never_fires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.upkeep.health.schedule_check.schedule_fires", lambda _: None)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    assert level_of(doctor._server(schedule=True), "server") == BAD
    monkeypatch.setattr("flows.services.server.require_prefect", lambda _: None)
    assert level_of(doctor._server(schedule=True), "schedule") == BAD


@pytest.mark.parametrize(("worst", "exit_code"), [(OK, 0), (INFO, 0), (LIMIT, 1), (BAD, 2)])
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], worst: str, exit_code: int
) -> None:
    findings = [Finding("first", OK, "fine"), Finding("second", worst, "so", "do it")]
    monkeypatch.setattr(doctor, "examine", lambda *_, **__: iter(findings))
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json"])
    assert ended.value.code == exit_code
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["findings"][1] == {"check": "second", "level": worst, "found": "so", "fix": "do it"}


def test_home_that_can_not_be_written_ends_the_examination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HEADFORGE_HOME", str(tmp_path / "file"))
    assert level_of(doctor.examine(tmp_path, schedule=False), "home") == BAD


def with_revision(path: Path, revision: str) -> None:
    path.parent.mkdir(exist_ok=True)
    with opened(path, "rwc") as there:
        there.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num)")
        there.execute("DELETE FROM alembic_version")
        there.execute("INSERT INTO alembic_version VALUES (?)", (revision,))


def test_databases_of_the_recorders(monkeypatch: pytest.MonkeyPatch) -> None:
    head, known = revisions(MLFLOW)
    assert level_of(checks.recorders(), "MLflow's database") == OK
    for revision, level in ((head, OK), (min(known - {head}), INFO), ("of another schema", LIMIT)):
        with_revision(mlflow_path(), revision)
        assert level_of(checks.recorders(), "MLflow's database") == level
    assert level_of(checks.recorders(), "Prefect's database") == OK
    database().parent.mkdir()
    database().write_text("no database")
    assert level_of(checks.recorders(), "Prefect's database") == LIMIT
    assert database().read_text() == "no database"
    monkeypatch.setattr("flows.services.databases.opened", lambda _: (_ for _ in ()).throw(OSError(5, "I/O error")))
    assert level_of(checks.recorders(), "MLflow's database") == LIMIT


def test_the_databases_are_looked_at_before_a_server_puts_one_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_revision(mlflow_path(), "of another schema")
    monkeypatch.setattr(doctor, "_server", lambda **_: iter([Finding("server", OK, "last")]))
    names = [finding.check for finding in doctor.examine(tmp_path, schedule=False)]
    assert names.index("MLflow's database") < names.index("server")
