"""Damaged small files: every reader returns something or raises an error of headforge's own, and says which file."""

from __future__ import annotations

import json
import pickle
import random
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save

from flows.project.checkouts import register, registered
from flows.project.params import _parse_assignment, load_settings
from flows.project.provenance import locked_outputs
from flows.project.receipts import read_receipts
from flows.upkeep.inspect import describe
from headforge.errors import ConfigError, HeadforgeError
from headforge.geometry.cameras import opengl_c2w_to_viewmat
from headforge.guarded import parse_json, read_json_object, read_npz, read_toml
from headforge.pickles import read_npy, read_pickle
from headforge.priors.tensor_files import read_tensors
from headforge.store.dataset.columns import read_table
from headforge.store.dataset.shards import Dataset
from headforge.store.exchange.rows import RowsTable
from headforge.store.files import path_inside
from headforge.track.video.landmark_files import read_landmarks

ROOT = Path(__file__).parents[2]
N_MUTANTS = 140
JSON_TEXTS = (
    "null", "[]", "{}", "1", '"x"', "[null]", '{"path": 1}', '{"path": null}', '{"path": "../../x"}', "[" * 3000,
    "[" * 300 + "]" * 300, "NaN", "1e999", "9" * 5000, '{"shards": 1}', '{"shards": [{}]}', '{"shards": [1]}',
    '{"shards": [{"path": "../x", "n_bytes": 1}]}', '"\\ud800"', '{"path": "\\u0000"}', '{"stages": 1}',
    '{"stages": {"train": 1}}', '{"stages": {"train": {"outs": [{"path": 1, "md5": null}]}}}',
)  # fmt: skip
YAML_TEXTS = ("&a [*a]", "[" * 50_000, "- " * 50_000, "2001-99-99", "!!int x", "a: *b", "!!python/object:os.system x")


@dataclass(frozen=True)
class Case:
    """A reader, the file that it reads and that file's content before it is damaged."""

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    texts: tuple[str, ...] = ()


def _npz(path: Path) -> None:
    np.savez(path, face_landmark_2d=np.ones((3, 68, 3), np.float32), words=np.array(["a"]))


def _packed_npz(path: Path) -> None:
    np.savez_compressed(path, landmarks=np.ones((3, 68, 2), np.float32))


def _parquet(path: Path) -> None:
    pq.write_table(pa.table({"file": ["a", "b"], "view": [1, 2], "text": ["x", "ü"]}), path)


def _safetensors(path: Path) -> None:
    path.write_bytes(save({"a": torch.ones(3), "b": torch.zeros(2, 2)}, metadata={"headforge": '{"format": "x"}'}))


def _checkpoint(path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(3)}}, path)


def _pickle(path: Path) -> None:
    value = {"a": np.arange(6.0).reshape(2, 3), ("b", 1): [1, 2.5, None, "ü"], "c": {1, 2}, "d": (1, (2, 3))}
    path.write_bytes(pickle.dumps(value, protocol=2))


def _text(content: object) -> Callable[[Path], object]:
    return lambda path: path.write_text(content if isinstance(content, str) else json.dumps(content))


def _shards(path: Path) -> object:
    return Dataset(path.parent).views


DATASET = {"schema_version": 1, "shards": [{"path": "shards/part-00000.parquet", "n_bytes": 10}], "n_views": 3}
LOCK = "schema: '2.0'\nstages:\n  train:\n    outs:\n    - path: data/models\n      md5: abc\n"
CASES = (
    Case("a.json", _text({"a": [1, {"b": "ü"}]}), read_json_object, JSON_TEXTS),
    Case("line.json", _text({"a": [1]}), lambda path: describe(path), JSON_TEXTS),
    Case("dataset.json", _text(DATASET), _shards, JSON_TEXTS),
    Case("checkouts/a.json", _text({"path": "/tmp/x"}), lambda path: registered(), JSON_TEXTS),
    Case(".dvc/tmp/headforge/train.json", _text(["k1", "k2"]), lambda path: read_receipts(path.parents[3]), JSON_TEXTS),
    Case("dvc.lock", _text(LOCK), lambda path: locked_outputs(path.parent, ["train"]), (*JSON_TEXTS, *YAML_TEXTS)),
    Case("params.yaml", _text((ROOT / "params.yaml").read_text()), lambda path: load_settings(path.parent),
         (*JSON_TEXTS[:10], *YAML_TEXTS)),
    Case("a.toml", _text('[a]\nb = [1, "x"]\n'), read_toml, ("a = " + "[" * 5000,)),
    Case("a.npz", _npz, read_npz),
    Case("packed.npz", _packed_npz, lambda path: read_landmarks(path, 3, 64, 64)),
    Case("a.parquet", _parquet, read_table),
    Case("b.parquet", _parquet, describe),
    Case("rows.parquet", _parquet, RowsTable),
    Case("a.safetensors", _safetensors, describe),
    Case("b.safetensors", _safetensors, read_tensors),
    Case("a.pt", _checkpoint, read_tensors),
    Case("a.pkl", _pickle, read_pickle),
    Case("a.npy", lambda path: np.save(path, np.ones((3, 4))), read_npy),
)  # fmt: skip


def _damaged(whole: bytes, rng: random.Random) -> bytes:
    """Return the bytes with a flipped bit, some changed, cut, emptied or replaced."""
    data = bytearray(whole)
    how = rng.randrange(6)
    if how == 0:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == 1:
        for _ in range(20):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif how == 2:
        del data[rng.randrange(len(data)) :]
    elif how == 3:
        start = rng.randrange(len(data))
        del data[start : start + rng.randrange(1, 9)]
    elif how == 4:
        start = rng.randrange(len(data))
        data[start : start + 4] = rng.choice((b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff"))
    else:
        data = bytearray(rng.randbytes(rng.randrange(200)))
    return bytes(data)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_damaged_file(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADFORGE_HOME", str(tmp_path))
    path = tmp_path / case.name
    path.parent.mkdir(parents=True, exist_ok=True)
    case.write(path)
    whole = path.read_bytes()
    rng = random.Random(zlib.crc32(case.name.encode()))
    mutants = [text.encode() for text in case.texts] + [b"", bytes(len(whole)), b"\xff\xfe"]
    mutants += [_damaged(whole, rng) for _ in range(N_MUTANTS - len(mutants))]
    for number, mutant in enumerate(mutants):
        path.write_bytes(mutant)
        try:
            case.read(path)
        except HeadforgeError as error:
            assert error.help
        except Exception as error:
            pytest.fail(f"mutant {number} of {case.name}, {mutant[:60]!r}: {error!r}")


def test_there_are_enough() -> None:
    assert len(CASES) * N_MUTANTS >= 2000


@pytest.mark.parametrize("text", ["[" * 300 + "]" * 300, '"\\ud800"', "{"])
def test_json_that_nobody_could_use(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


def test_npz_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n"
    entry = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", entry)
    with pytest.raises(HeadforgeError, match="too short"):
        read_npz(tmp_path / "a.npz")


def test_npz_that_unpacks_to_gibibytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headforge.guarded.MAX_ARCHIVE_BYTES", 1 << 20)
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1 << 20))
    with pytest.raises(HeadforgeError, match="more than 1 MiB"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("assignment", ["synthesize.generator=&a [*a]", "train.seed=" + "[" * 50_000])
def test_yaml_that_breaks_its_parser_on_the_command_line(assignment: str) -> None:
    with pytest.raises(ConfigError):
        _parse_assignment(assignment)


def test_matrix_of_a_camera_with_a_zero_row() -> None:
    with pytest.raises(ValueError, match="no inverse"):
        opengl_c2w_to_viewmat(torch.diag(torch.tensor([1.0, 0.0, 1.0, 1.0])))


def test_name_that_no_file_system_takes(tmp_path: Path) -> None:
    assert path_inside(tmp_path, "x" * 300) is None


def test_note_of_a_project_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADFORGE_HOME", str(tmp_path / "home"))
    register(tmp_path)
    (note,) = (tmp_path / "home" / "checkouts").iterdir()
    note.write_text("{")
    with pytest.raises(HeadforgeError, match=note.name):
        registered()
    register(tmp_path)
    assert registered() == [tmp_path]
