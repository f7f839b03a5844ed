"""`headforge assets` from the command line, what `doctor` says of them, and which outputs carry whose terms."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from flows.cli import main
from flows.commands import assets as command
from flows.project.assets import stored
from flows.project.params import change_params, load_settings
from flows.project.project import store_root
from flows.project.receipts import write_receipt
from flows.upkeep.gc import GcRequest, collect
from flows.upkeep.health.asset_checks import Card, asset_findings, card_findings
from flows.upkeep.health.checks import BAD, LIMIT, OK, Finding
from headforge.priors.kinds import KINDS
from headforge.priors.licences import LEDGER, ledger_entry, verdict
from headforge.store.objects.store import Recipe, Store
from tests.flows.projects import empty_project
from tests.priors.asset_files import SPOILT, WHOLE, spoil


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = empty_project(tmp_path / "project")
    monkeypatch.chdir(root)
    return root


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, dict]:
    """Exit code, standard error, and the JSON of the last line of standard output."""
    with pytest.raises(SystemExit) as stopped:
        main(["assets", *arguments, "--json"])
    said = capsys.readouterr()
    code = stopped.value.code
    assert isinstance(code, int) and "Traceback" not in said.err
    return code, said.err, json.loads(said.out.splitlines()[-1]) if said.out else {}


def test_help_names_the_librarys_kinds() -> None:
    assert command.KINDS == {name: kind.gives for name, kind in KINDS.items()}
    assert all(kind.name == name and set(kind.licences) <= set(LEDGER) for name, kind in KINDS.items())


def test_add_names_the_asset_in_the_settings(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = WHOLE["mediapipe"](tmp_path)[0]
    before = (project / "params.yaml").read_text()
    code, _, added = ended(capsys, "add", "mediapipe", str(path), "--name", "points")
    assert code == 0 and added["is_new"] and added["licences"] == ["mediapipe"]
    assert load_settings(project).assets == {"points": added["sha256"]}
    after = (project / "params.yaml").read_text()
    assert after == before.replace("assets: {}", f"assets:\n  points: {added['sha256']}")
    code, _, again = ended(capsys, "add", "mediapipe", str(path), "--name", "points")
    assert code == 0 and not again["is_new"] and (project / "params.yaml").read_text() == after
    code, _, listed = ended(capsys, "list")
    assert code == 0 and [(a["name"], a["kind"]) for a in listed["assets"]] == [("points", "mediapipe")]


def test_outside_a_project_it_is_kept_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, added = ended(capsys, "add", "mediapipe", str(WHOLE["mediapipe"](tmp_path)[0]))
    assert code == 0 and stored(Store(store_root()), added["sha256"]) is not None
    code, _, listed = ended(capsys, "list")
    assert code == 0 and [a["name"] for a in listed["assets"]] == [""]


@pytest.mark.parametrize("how", SPOILT)
def test_bad_files_end_with_2_and_one_message(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    path = WHOLE["vae"](tmp_path)[0]
    said = spoil(path, how, tmp_path / "victim")
    before = (project / "params.yaml").read_bytes()
    code, message, values = ended(capsys, "add", "vae", str(path))
    assert code == 2 and said in message and values["message"].strip() == message.strip()
    assert message.count("\nhelp: ") == 1 and not (tmp_path / "victim").exists()
    assert (project / "params.yaml").read_bytes() == before


@pytest.mark.parametrize("name", ["1st", "Points", "../x"])
def test_a_name_that_is_none_ends_with_2(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    code, message, _ = ended(capsys, "add", "mediapipe", str(WHOLE["mediapipe"](tmp_path)[0]), "--name", name)
    assert code == 2 and f"'{name}' can't be the name of an asset" in message


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    assert all((finding.fix == "") == (finding.level == OK) for finding in findings)
    return {finding.check: finding for finding in findings}


def test_doctor_hashes_assets_and_says_how_to_get_them_back(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert by_check(list(asset_findings(load_settings(project))))["assets"].level == OK
    _, _, added = ended(capsys, "add", "mediapipe", str(WHOLE["mediapipe"](tmp_path)[0]), "--name", "points")
    change_params(project, assets={"gone": "0" * 64})
    found = by_check(list(asset_findings(load_settings(project))))
    assert (found["asset points"].level, found["licence of points"].level, found["asset gone"].level) == (OK, OK, BAD)
    kept = Path(added["folder"]) / "face_landmarker.task"
    status = kept.stat()
    data = bytearray(kept.read_bytes())
    data[-1] ^= 1
    kept.chmod(0o644)
    kept.write_bytes(data)
    import os

    os.utime(kept, ns=(status.st_atime_ns, status.st_mtime_ns))
    found = by_check(list(asset_findings(load_settings(project))))
    assert found["asset points"].level == BAD and "damaged" in found["asset points"].found
    assert found["asset points"].fix.startswith("headforge assets add mediapipe PATH --name points")
    code, _, listed = ended(capsys, "list")
    assert code == 1 and not any(entry["in_store"] for entry in listed["assets"])


def test_doctor_compares_weights_with_the_card(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended(capsys, "add", "sd15", str(WHOLE["sd15"](tmp_path)[0]))
    settings = load_settings(project)
    levels = {}
    for name, cards in {
        "none": [], "large": [Card("H", 10**11, 10**11)], "busy": [Card("H", 10**5, 10**11)],
        "small": [Card("H", 10**11, 10**11), Card("T", 10**5, 10**5)],
    }.items():  # fmt: skip
        found = by_check(list(card_findings(settings, project, cards)))
        levels[name] = {finding.level for finding in found.values()}
    assert levels == {"none": {LIMIT}, "large": {OK}, "busy": {LIMIT}, "small": {BAD}}
    change_params(project, assignments=["engine.gpus=2", "engine.workers=2"])
    found = by_check(list(card_findings(load_settings(project), project, [Card("H", 10**11, 10**11)])))
    assert found["graphics cards"].level == BAD and "-S engine.gpus=1" in found["graphics cards"].fix


def test_gc_keeps_what_a_project_names(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, named = ended(capsys, "add", "mediapipe", str(WHOLE["mediapipe"](tmp_path)[0]))
    _, _, other = ended(capsys, "add", "vae", str(WHOLE["vae"](tmp_path)[0]))
    lines = [x for x in (project / "params.yaml").read_text().splitlines() if not x.startswith("  vae:")]
    (project / "params.yaml").write_text("\n".join(lines) + "\n")
    collect(GcRequest(unreferenced=True), project)
    assert stored(Store(store_root()), named["sha256"]) is not None
    assert stored(Store(store_root()), other["sha256"]) is None


def test_the_strictest_answer_counts() -> None:
    free, research = ledger_entry("headforge-builtin-1"), ledger_entry("flame")
    assert (verdict([free]).publish, verdict([free]).sell) == ("yes", "yes")
    both = verdict([free, research, free])
    assert (both.publish, both.sell) == ("on conditions", "no")
    assert [item.source for item in both.carried] == ["flame", "headforge-builtin"]
    unknown = verdict([free, ledger_entry("import-eg3d", "CC BY-NC-SA 4.0")])
    assert (unknown.publish, unknown.sell) == ("not known", "not known")
    assert unknown.carried[1].licence.title == "CC BY-NC-SA 4.0"
    assert verdict([unknown.carried[1], research]).sell == "no"
    assert verdict([]).publish == "not known"


def write_dataset(project: Path, licences: dict[str, str], head: str) -> None:
    (project / "data/synthetic").mkdir(parents=True)
    description = {"licences": licences, "head_models": [head]}
    (project / "data/synthetic/dataset.json").write_text(json.dumps(description))


def test_an_output_carries_what_went_into_it(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(project, {"headforge-builtin-1": "own"}, "headforge-builtin-1")
    _, _, added = ended(capsys, "add", "sd15", str(WHOLE["sd15"](tmp_path)[0]))
    store = Store(store_root())
    recipe = Recipe("train", 1, {}, {"denoiser": added["sha256"]}, {})
    made = store.build(recipe, lambda folder: (folder / "a").write_text("x") and None)
    write_receipt(project, "train", [made.key])
    for folder in ("tracked", "models", "avatars/astronaut", "avatars/000001"):
        (project / "data" / folder).mkdir(parents=True)
    carried = {}
    for output in ("synthetic", "tracked", "models", "avatars/astronaut", "avatars/000001"):
        code, _, said = ended(capsys, "licences", f"data/{output}")
        assert code == 0
        carried[output] = ({item["source"] for item in said["carried"]}, said["publish"], said["sell"])
    photo = {"astronaut", "ibug-300w"}
    assert carried["synthetic"] == ({"headforge-builtin"}, "yes", "yes")
    assert carried["tracked"] == ({"headforge-builtin", *photo}, "on conditions", "no")
    assert carried["models"][0] >= {"headforge-builtin", "openrail-m"} and carried["models"][1] == "on conditions"
    assert carried["avatars/astronaut"][0] == {"headforge-builtin", "openrail-m", *photo}
    assert not carried["avatars/000001"][0] & photo
    code, _, everything = ended(capsys, "licences")
    assert everything["sell"] == "no" and {"openrail-m", *photo} <= {i["source"] for i in everything["carried"]}


def test_head_models_bring_their_terms(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(project, {"headforge-builtin-1": "own"}, "flame2023-0123456789ab")
    _, _, said = ended(capsys, "licences", "data/synthetic/dataset.json")
    assert (said["publish"], said["sell"]) == ("on conditions", "no")


def test_an_exported_folder_says_it_itself_and_others_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    code, message, _ = ended(capsys, "licences", "out")
    assert code == 2 and "the origin of" in message
    (tmp_path / "out/provenance.json").write_text(json.dumps({"licences": {"spherehead": "research"}}))
    code, _, said = ended(capsys, "licences", "out")
    assert code == 0 and said["sell"] == "no"
    assert dataclasses.asdict(LEDGER["spherehead"]).items() <= said["carried"][0].items()
    assert ended(capsys, "licences", "nowhere")[0] == 2
