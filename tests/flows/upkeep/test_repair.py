"""verify finds every damaged copy; --repair brings the right bytes back and makes only what has no right copy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli import main
from flows.project.project import store_root
from flows.project.receipts import read_receipts
from headforge.progress import SILENT
from headforge.store.objects.manifest import MANIFEST, read_manifest
from headforge.store.objects.store import Store
from tests.flows.projects import cached, flip_bit, made_project


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a project in it; tests work on copies."""
    home = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADFORGE_HOME", str(home))
        made_project(home / "project")
    return home


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    shutil.copytree(template, home)
    monkeypatch.setenv("HEADFORGE_HOME", str(home))
    monkeypatch.setattr("flows.upkeep.repair.make_engine", lambda *settings: InProcess())
    monkeypatch.chdir(home / "project")
    return home / "project"


class InProcess:
    """The engine without its processes, which take seconds to start."""

    n_slots = 1

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def run(self, function: Callable[..., object], *args: object) -> object:
        return function(*args, SILENT)


def headforge(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict]:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json"])
    code = ended.value.code
    assert isinstance(code, int)
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def parts() -> list[Path]:
    return sorted((store_root() / "objects").glob("*/*/part.parquet"))


def made_at() -> dict[str, int]:
    return {path.parent.name: (path.parent / MANIFEST).stat().st_mtime_ns for path in parts()}


def test_sound_project(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert headforge(capsys, "verify")[0] == 0


@pytest.mark.parametrize("place", ["store", "workspace", "cache"])
def test_flipped_bit_is_found_and_the_right_bytes_come_back(
    project: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    before, times = contents(project / "data"), made_at()
    shard = project / "data/synthetic/shards/part-00001.parquet"
    (md5,) = (md5 for md5 in listing(project) if cached(project, md5).read_bytes() == shard.read_bytes())
    damaged = {"store": parts()[1], "workspace": shard, "cache": cached(project, md5)}[place]
    right = damaged.read_bytes()
    flip_bit(damaged)
    code, said = headforge(capsys, "verify")
    assert (code, said["status"], [Path(item["path"]) for item in said["damaged"]]) == (1, "damaged", [damaged])
    code, said = headforge(capsys, "verify", "--repair")
    assert (code, [item["good"] for item in said["damaged"]]) == (0, [True])
    assert damaged.read_bytes() == right
    assert (contents(project / "data"), made_at()) == (before, times)
    assert headforge(capsys, "verify")[0] == 0


@pytest.mark.parametrize("place", ["workspace", "cache"])
def test_missing_file_comes_back(project: Path, capsys: pytest.CaptureFixture[str], place: str) -> None:
    shard = project / "data/synthetic/shards/part-00001.parquet"
    (md5,) = (md5 for md5 in listing(project) if cached(project, md5).read_bytes() == shard.read_bytes())
    gone = shard if place == "workspace" else cached(project, md5)
    right = gone.read_bytes()
    gone.unlink()
    assert headforge(capsys, "verify")[0] == 1
    assert headforge(capsys, "verify", "--repair")[0] == 0
    assert gone.read_bytes() == right


def test_shard_that_is_bad_everywhere_is_made_again_and_no_other(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, times = contents(project / "data"), made_at()
    shard = project / "data/synthetic/shards/part-00001.parquet"
    (part,) = (path for path in parts() if path.read_bytes() == shard.read_bytes())
    (md5,) = (md5 for md5 in listing(project) if cached(project, md5).read_bytes() == shard.read_bytes())
    for path in (part, shard, cached(project, md5)):
        flip_bit(path)
    code, said = headforge(capsys, "verify", "--repair")
    assert code == 0
    assert [item["item"] for item in said["damaged"] if item["outcome"] == "rebuilt"] == ["synthesize/subjects 1-1"]
    assert contents(project / "data") == before
    assert {key for key, time in made_at().items() if time != times[key]} == {part.parent.name}
    assert read_manifest(part.parent).note.label == "subjects 1-1"
    assert headforge(capsys, "verify")[0] == 0


def test_object_without_its_manifest_is_made_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = parts()[0].with_name(MANIFEST)
    digest = read_manifest(manifest.parent).digest
    manifest.unlink()
    assert headforge(capsys, "verify", "--repair")[0] == 0
    assert read_manifest(manifest.parent).digest == digest


def test_object_that_is_gone_is_made_again_when_asked(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = parts()[0].parent
    shutil.rmtree(gone)
    code, said = headforge(capsys, "verify")
    assert (code, [item["reason"] for item in said["damaged"]]) == (1, ["the object is not in the store"])
    assert headforge(capsys, "verify", "--repair")[0] == 0
    assert all(Store(store_root()).is_intact(key) for key in read_receipts(project)["synthesize"])


def listing(project: Path) -> list[str]:
    (path,) = (project / ".dvc/cache/files/md5").glob("*/*.dir")
    return [item["md5"] for item in json.loads(path.read_text())]
