"""why names what has changed since the nearest object was made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli import main
from flows.project.params import change_params, load_settings
from flows.project.project import store_root
from flows.upkeep.why import Difference, compare, leaves
from headforge.store.objects.store import Note, Store
from tasks.synthesize import head_item, shard_items
from tests.flows.projects import empty_project, flip_bit


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three shards in the store, without pictures."""
    root = empty_project(tmp_path / "project")
    monkeypatch.chdir(root)
    for item in [*shard_items(load_settings(root)["synthesize"]), head_item()]:
        note = Note(item.label, {"torch": "0.1"})
        Store(store_root()).build(item.recipe, lambda f: (f / "part.parquet").write_bytes(b"1") and None, note=note)
    return root


def why(capsys: pytest.CaptureFixture[str], wanted: str) -> tuple[int, list[dict], str]:
    with pytest.raises(SystemExit) as ended:
        main(["why", wanted, "--json"])
    code, said = ended.value.code, capsys.readouterr()
    assert isinstance(code, int)
    return code, json.loads(said.out.splitlines()[-1]).get("items", []), said.out + said.err


def test_what_is_there_says_when_and_with_what_it_was_made(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, items, text = why(capsys, "synthesize")
    assert (code, [item["in_store"] for item in items]) == (0, [True] * 4)
    assert "in the store, made on 20" in text
    assert {"leaf": "made_with.torch", "then": "0.1"}.items() <= items[0]["differences"][-1].items()


def test_changed_setting_is_the_only_difference(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_params(project, assignments=("synthesize.image_size=48",))
    _, items, text = why(capsys, "synthesize/subjects 1-1")
    assert [item["item"] for item in items] == ["synthesize/subjects 1-1"]
    assert items[0]["differences"] == [{"leaf": "params.image_size", "then": 32, "now": 48}]
    assert "params.image_size: 32 -> 48" in text


def test_bumped_version_is_named(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.synthesize.VERSION", 99)
    _, items, _ = why(capsys, "synthesize/subjects 0-0")
    assert [(one["leaf"], one["now"]) for one in items[0]["differences"]] == [("version", 99)]


def test_grown_dataset_misses_only_the_new_item(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_params(project, assignments=("synthesize.n_subjects=4",))
    _, items, _ = why(capsys, "synthesize")
    assert [item["in_store"] for item in items] == [True, True, True, False, True]
    assert [one["leaf"] for one in items[3]["differences"]] == ["params.subjects"]


@pytest.mark.parametrize("wanted", ["1", "000001/4", "data/synthetic/shards/part-00001.parquet", "synthesize/1"])
def test_subjects_and_files_name_their_shard(project: Path, capsys: pytest.CaptureFixture[str], wanted: str) -> None:
    _, items, _ = why(capsys, wanted)
    assert [item["item"] for item in items] == ["synthesize/subjects 1-1"]


def test_damaged_object_is_called_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = next((store_root() / "objects").glob("*/*/part.parquet"))
    flip_bit(part)
    part.chmod(0o644)
    part.write_bytes(b"22")
    assert "DAMAGED" in why(capsys, "synthesize")[2]


@pytest.mark.parametrize("wanted", ["nothing", "synthesize/subjects 0-9", "data/elsewhere"])
def test_unknown_item_is_refused(project: Path, capsys: pytest.CaptureFixture[str], wanted: str) -> None:
    code, _, text = why(capsys, wanted)
    assert code == 2
    assert "help: " in text


def test_stage_without_its_inputs_says_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, text = why(capsys, "track")
    assert code == 2
    assert "not a dataset" in text


def test_differences_are_found_leaf_by_leaf() -> None:
    then = leaves({"params": {"a": 1, "b": [1, 2]}, "inputs": {}})
    now = leaves({"params": {"a": 1, "b": [1, 3], "c": None}, "inputs": {"head": "x"}})
    assert compare(then, now) == (Difference("inputs.head", None, "x"), Difference("params.b", [1, 2], [1, 3]))
