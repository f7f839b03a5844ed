"""`headforge export` and `headforge import` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli import main
from flows.commands.exchange import export, importing
from headforge.store.dataset.shards import Dataset, write_dataset_json, write_shard
from headforge.store.dataset.tables import write_tracks
from headforge.store.exchange.export import FORMATS
from headforge.store.exchange.importing import IMPORTS
from headforge.types import Track
from tests.store.exchange.formats.test_vhap import tracked
from tests.store.exchange.posed import HEAD, posed_dataset
from tests.store.rows import subjects


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_shard(Path("data") / "shards" / "part-00000.parquet", subjects(range(3)))
    write_dataset_json(Path("data"), generator="builtin", params={}, licences={"builtin": "MIT"})
    return Path("data")


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, dict]:
    """Exit code, standard error, and the JSON of the last line of standard output."""
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--json"])
    said = capsys.readouterr()
    code = stopped.value.code
    assert isinstance(code, int)
    assert "Traceback" not in said.err
    return code, said.err, json.loads(said.out.splitlines()[-1]) if said.out else {}


def test_formats_on_the_command_line_are_the_librarys() -> None:
    assert export.FORMATS == tuple(FORMATS)
    assert importing.FORMATS == tuple(IMPORTS)


@pytest.mark.parametrize("kind", ["eg3d", "nerfstudio", "colmap"])
def test_out_and_back(dataset: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    code, _, values = ended(capsys, "export", str(dataset), "--to", kind, "out", "--subject", "000001")
    assert (code, values["n_subjects"], values["n_views"]) == (0, 1, 3)
    code, _, values = ended(capsys, "import", "out", "--from", kind, "back", "--source", "synthetic")
    assert (code, values["n_subjects"], values["n_views"]) == (0, 1, 3)
    assert Dataset(Path("back")).subject_ids() == ["000001"]
    assert values["cameras"] == "not checked"  # 16 px of noise hold no face


def test_gaussianavatars_out_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = posed_dataset(tmp_path / "data")
    tracks = [Track("000001", s.view, "ok", "", s.camera, s.params, 0.5, 68) for s in data.samples("000001")]
    write_tracks(Path("tracked/shards/part-00000.parquet"), tracks)
    code, _, values = ended(capsys, "export", "data", "--to", "gaussianavatars", "out", "--tracks", "tracked")
    assert (code, values["n_subjects"], values["n_views"], values["n_left_out"]) == (0, 1, 12, 12)
    head = ("--head", "data/head_model.safetensors", "--source", "real", "--no-camera-check")
    code, _, values = ended(capsys, "import", "out", "--from", "gaussianavatars", "back", *head)
    assert (code, values["n_views"]) == (0, 12)
    assert Dataset(Path("back")).sample("000001", 3).params.model_id == HEAD.model_id
    vhap = tracked(tmp_path / "tracked_flame_params_30.npz")
    code, _, values = ended(capsys, "import", str(vhap), "--from", "vhap", "anna", *head, "--subject", "anna")
    assert (code, values["n_views"]) == (0, 3)
    code, said, _ = ended(capsys, "import", str(vhap), "--from", "vhap", "bea", "--source", "real")
    assert code == 2 and "does not name the head model" in said
    code, said, _ = ended(capsys, "export", "data", "--to", "eg3d", "none", "--tracks", "out")
    assert code == 2 and "holds no tracks" in said


def test_a_missing_picture_ends_with_1_and_the_rest_is_there(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended(capsys, "export", str(dataset), "--to", "eg3d", "out")
    Path("out/train/000001/00002.png").unlink()
    code, said, values = ended(capsys, "import", "out/dataset.json", "--from", "eg3d", "back", "--source", "synthetic")
    assert (code, values["n_views"]) == (1, 8)
    assert [item["item"] for item in values["rejected"]] == ["train/000001/00002.png"]
    assert said.strip().splitlines()[-1].startswith("help: the others were imported")


def test_bad_input_ends_with_2_one_message_and_no_folder(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("full").mkdir()
    Path("full/file").touch()
    for arguments, expected in (
        (("export", "nowhere", "--to", "eg3d", "out"), "is not a dataset"),
        (("export", str(dataset), "--to", "eg3d", "full"), "is not empty"),
        (("export", str(dataset), "--to", "eg3d", "out", "--subject", "7"), "has no subject 7"),
        (("export", str(dataset), "--to", "zip", "out"), "invalid choice: 'zip'"),
        (("import", "nowhere.json", "--from", "eg3d", "out", "--source", "real"), "nowhere.json does not exist"),
        (("import", "full", "--from", "nerfstudio", "out"), "--source"),
        (("import", "full", "--from", "nerfstudio", "out", "--source", "real"), "no transforms.json"),
    ):
        code, said, _ = ended(capsys, *arguments)
        assert (code, said.strip().splitlines()[-1][:6]) == (2, "help: ")
        assert expected in said
    assert not Path("out").exists()
