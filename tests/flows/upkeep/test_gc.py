"""gc --unreferenced keeps what any registered project needs, and refuses where that can't be told."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from flows.cli import main
from flows.project.checkouts import registered, using_store
from flows.project.params import change_params, load_settings
from flows.project.project import store_root
from flows.project.receipts import write_receipt
from headforge.store.objects.store import Recipe, Store
from headforge.synth.synthesize import VERSION
from tasks.synthesize import shard_items
from tests.flows.projects import empty_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = empty_project(tmp_path / "project")
    git(root, "commit", "-q", "--allow-empty", "-m", "start")
    monkeypatch.chdir(root)
    return root


def git(root: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(root), *who, *arguments], check=True, capture_output=True)


def headforge(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict, str]:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json"])
    code, said = ended.value.code, capsys.readouterr()
    assert isinstance(code, int)
    return code, json.loads(said.out.splitlines()[-1]), said.err


def put(recipe: Recipe) -> str:
    return Store(store_root()).build(recipe, lambda folder: (folder / "file").write_bytes(b"1") and None).key


def shards_of(root: Path, *assignments: str) -> set[str]:
    """Objects, with no pictures in them, of the shards that these settings give; params.yaml stays."""
    before = (root / "params.yaml").read_bytes()
    settings, _ = change_params(root, None, assignments)
    (root / "params.yaml").write_bytes(before)
    return {put(item.recipe) for item in shard_items(settings["synthesize"])}


def keys() -> set[str]:
    return {path.name for path in Store(store_root()).object_paths()}


def commit_settings(root: Path, ref: str, *assignments: str) -> None:
    """A commit with other settings that only `ref` points at."""
    before = (root / "params.yaml").read_bytes()
    change_params(root, None, assignments)
    git(root, "add", "params.yaml")
    tree = subprocess.run(["git", "-C", str(root), "write-tree"], capture_output=True, text=True, check=True).stdout
    command = [
        "git",
        "-C",
        str(root),
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "commit-tree",
        tree.strip(),
        "-m",
        "x",
    ]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    git(root, "update-ref", ref, commit)
    git(root, "reset", "-q")
    (root / "params.yaml").write_bytes(before)


def test_what_settings_branches_experiments_and_receipts_name_stays(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    current = shards_of(project)
    branch = shards_of(project, "synthesize.seed=1")
    experiment = shards_of(project, "synthesize.seed=2")
    locked = shards_of(project, "synthesize.seed=3")
    published = shards_of(project, "synthesize.seed=4")
    unnamed = shards_of(project, "synthesize.seed=5")
    unknown = {put(Recipe("a stage of tomorrow", 1, {}, {}, {}))}
    commit_settings(project, "refs/heads/other", "synthesize.seed=1")
    commit_settings(project, "refs/exps/ab/cdef/name", "synthesize.seed=2")
    params = {"params.yaml": {"synthesize": {"seed": 3}}, "headforge/synth/synthesize.py": {"VERSION": VERSION}}
    (project / "dvc.lock").write_text(json.dumps({"stages": {"synthesize": {"params": params}}}))
    write_receipt(project, "synthesize", sorted(published))
    everything = current | branch | experiment | locked | published | unnamed | unknown
    assert headforge(capsys, "gc", "--unreferenced", "--dry-run")[1]["counts"]["object"] == len(unnamed)
    assert keys() == everything
    code, said, _ = headforge(capsys, "gc", "--unreferenced")
    assert (code, keys()) == (0, everything - unnamed)
    assert said["freed_bytes"] > 0


def test_other_version_in_every_lock_is_not_needed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "params.yaml").unlink()
    recipe = Recipe("synthesize", 1, {"seed": 3}, {}, {})
    params = {"params.yaml": {"synthesize": {"seed": 3}}, "headforge/synth/synthesize.py": {"VERSION": 2}}
    (project / "dvc.lock").write_text(json.dumps({"stages": {"synthesize": {"params": params}}}))
    put(recipe)
    headforge(capsys, "gc", "--unreferenced")
    assert not keys()


def test_only_the_page_that_a_project_shows_stays(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown, old = (put(Recipe("dataset_page", 1, {}, {"dataset": digest}, {})) for digest in ("a", "b"))
    write_receipt(project, "synthesize", [shown])
    headforge(capsys, "gc", "--unreferenced")
    assert keys() == {shown} != {old}


def test_photos_that_a_project_names_stay(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named, other = (Store(store_root()).put_blob(data) for data in (b"a", b"b"))
    change_params(project, portraits={"me": named})
    headforge(capsys, "gc", "--unreferenced")
    assert [path.name for path in Store(store_root()).blob_paths()] == [named]
    assert other != named


def test_project_that_is_gone_stops_it_until_it_is_forgotten(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = empty_project(tmp_path / "other")
    with using_store(other):
        pass
    mine, others = shards_of(project), shards_of(other, "synthesize.seed=9")
    change_params(other, None, ("synthesize.seed=9",))
    headforge(capsys, "gc", "--unreferenced")
    assert keys() == mine | others
    shutil.rmtree(other)
    code, _, said = headforge(capsys, "gc", "--unreferenced")
    assert (code, keys()) == (2, mine | others)
    assert str(other) in said and "--forget" in said
    assert headforge(capsys, "gc", "--unreferenced", "--forget", str(other))[0] == 0
    assert keys() == mine
    assert registered() == [project]


@pytest.mark.parametrize("harm", ["lock", "git"])
def test_project_that_can_not_be_read_stops_it(project: Path, capsys: pytest.CaptureFixture[str], harm: str) -> None:
    shards = shards_of(project, "synthesize.seed=9")
    with using_store(project):
        pass
    if harm == "lock":
        (project / "dvc.lock").write_text("{ broken")
    else:
        shutil.rmtree(project / ".git")
    assert headforge(capsys, "gc", "--unreferenced")[0] == 2
    assert keys() == shards


def test_nothing_goes_while_a_run_is_in_progress(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = shards_of(project, "synthesize.seed=9")
    with using_store(project):
        assert headforge(capsys, "gc", "--unreferenced")[0] == 2
    assert keys() == shards


def test_experiment_in_a_copy_counts_as_its_project(project: Path) -> None:
    with using_store(project / ".dvc" / "tmp" / "exps" / "tmp1" / "sub"):
        assert registered() == [project]


def test_outside_of_any_project_nothing_needed_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(Recipe("synthesize", 1, {}, {}, {}))
    monkeypatch.chdir(tmp_path)
    assert headforge(capsys, "gc")[0] == 0
    assert headforge(capsys, "gc", "--unreferenced")[0] == 2
    assert len(keys()) == 1


def test_settings_are_compared_by_value(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """params.yaml may say 1 where the settings become 1.0."""
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("expression_strength: 1.0", "expression_strength: 1"))
    assert load_settings(project)["synthesize"].expression_strength == 1
    shards = {put(item.recipe) for item in shard_items(load_settings(project)["synthesize"])}
    headforge(capsys, "gc", "--unreferenced")
    assert keys() == shards
