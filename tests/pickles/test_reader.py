"""Pickles of other programs: right values, typed errors, and nothing is ever called."""

from __future__ import annotations

import collections
import io
import pickle
import struct
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from headforge.errors import HeadforgeError, InputError
from headforge.pickles import (
    ForbiddenNameError,
    Holder,
    PickleFormatError,
    as_dict,
    as_persistent,
    read_npy,
    read_pickle,
)


class Opener:
    """Creates a file when it is loaded, as a hostile pickle would."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.victim), "w")


def written(folder: Path, data: bytes, name: str = "a.pkl") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    """A module of another program, there while a pickle is written."""
    made = types.ModuleType("their_networks")
    sys.modules[made.__name__] = made
    yield made
    sys.modules.pop(made.__name__, None)


def their_class(module: types.ModuleType, name: str, base: type = object) -> type:
    made = type(name, (base,), {"__module__": module.__name__})
    setattr(module, name, made)
    return made


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_and_arrays_come_back_under_every_protocol(tmp_path: Path, protocol: int) -> None:
    rng = np.random.default_rng(0)
    value = {
        "f64": rng.normal(size=(3, 4)),
        "fortran": np.asfortranarray(rng.normal(size=(3, 4, 2)).astype(np.float32)),
        "big_endian": np.arange(5, dtype=">i4"),
        "uint32": np.array([[2**32 - 1, 0]], dtype=np.uint32),
        "empty": np.zeros((0, 3)),
        "flags": np.array([True, False]),
        "words": np.array(["nose", "ear"]),
        "objects": np.array([[1, 2], [3]], dtype=object),
        "number": np.float32(1.5),
        "nested": [(1, 2.5, None, "ü", b"\x00\xff"), {1, 2}, frozenset({3}), 2**70, 1j],
        "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
    }
    found = read_pickle(written(tmp_path, pickle.dumps(value, protocol)))
    assert isinstance(found, dict) and list(found) == list(value)
    for name, wanted in value.items():
        if isinstance(wanted, np.ndarray):
            assert found[name].dtype == wanted.dtype.newbyteorder("=") and found[name].shape == wanted.shape
            assert found[name].tolist() == wanted.tolist()
            assert found[name].flags.writeable
        else:
            assert found[name] == wanted and type(found[name]) is type(wanted)


def test_shared_and_circular_lists_stay_so(tmp_path: Path) -> None:
    shared = np.arange(3)
    circular: list[object] = [shared, shared]
    circular.append(circular)
    found = read_pickle(written(tmp_path, pickle.dumps(circular)))
    assert isinstance(found, list) and found[0] is found[1] and found[2] is found


@pytest.mark.parametrize("old_path", [True, False])
def test_sparse_matrix_of_any_scipy(tmp_path: Path, *, old_path: bool) -> None:
    wanted = scipy.sparse.random(5, 40, 0.2, format="csc", random_state=0)
    data = pickle.dumps(scipy.sparse.csc_matrix(wanted), 2)
    if old_path:
        data = data.replace(b"scipy.sparse._csc\n", b"scipy.sparse.csc\n").replace(
            b"numpy._core.multiarray\n", b"numpy.core.multiarray\n"
        )
        assert b"numpy.core." in data and b"_csc" not in data
    found = read_pickle(written(tmp_path, data))
    assert isinstance(found, scipy.sparse.csc_matrix)
    np.testing.assert_array_equal(found.toarray(), wanted.toarray())


def test_sparse_matrix_with_indices_outside_is_refused(tmp_path: Path) -> None:
    matrix = scipy.sparse.csc_matrix(np.eye(3))
    matrix.indices[1] = 7
    with pytest.raises(PickleFormatError):
        read_pickle(written(tmp_path, pickle.dumps(matrix)))


def test_python_2_pickle_with_chumpy(tmp_path: Path) -> None:
    """As cPickle of Python 2 writes it: protocol 2, names of old modules, bytes as str."""
    values = np.arange(6, dtype="<f8").reshape(2, 3)
    raw = values.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U" + bytes([len(raw)]) + raw + b"tb"
    )
    chumpy = b"cchumpy.ch\nCh\n)\x81}(U\x01x" + array + b"U\x0b_dirty_varsc__builtin__\nset\n](U\x01xe\x85Rub"
    data = b"\x80\x02}(U\x0av_template" + chumpy + b"U\x08bs_styleU\x03lbsu."
    found = read_pickle(written(tmp_path, data))
    assert isinstance(found, dict) and found["bs_style"] == "lbs"
    np.testing.assert_array_equal(found["v_template"], values)


@pytest.mark.parametrize("protocol", [2, 5])
def test_tensors_and_parameters_bit_for_bit(tmp_path: Path, protocol: int) -> None:
    base = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    value = {
        "base": base, "slice": base[1:, ::2].T, "half": base.half(), "ids": torch.arange(3),
        "weight": torch.nn.Parameter(base.clone()), "size": base.shape, "dtype": torch.float16,
    }  # fmt: skip
    found = read_pickle(written(tmp_path, pickle.dumps(value, protocol)))
    assert isinstance(found, dict) and found["dtype"] is torch.float16 and found["size"] == (4, 6)
    for name in ("base", "slice", "half", "ids", "weight"):
        wanted = value[name]
        assert isinstance(wanted, torch.Tensor)
        assert found[name].dtype == wanted.dtype and torch.equal(found[name], wanted)


def test_object_array_in_an_npy_file(tmp_path: Path) -> None:
    wanted = {"faces": np.arange(4), "weights": torch.ones(2, 3)}
    np.save(tmp_path / "a.npy", np.array(wanted, dtype=object), allow_pickle=True)
    found = read_npy(tmp_path / "a.npy").item()
    np.testing.assert_array_equal(found["faces"], wanted["faces"])
    assert torch.equal(found["weights"], torch.ones(2, 3))
    np.save(tmp_path / "b.npy", np.eye(3))
    np.testing.assert_array_equal(read_npy(tmp_path / "b.npy"), np.eye(3))


def test_classes_of_another_program_become_holders_or_what_the_caller_says(
    tmp_path: Path, module: types.ModuleType
) -> None:
    layer = their_class(module, "Layer")()
    layer.__dict__.update(weight=np.ones(2), parent=layer, activation=their_class(module, "relu"))
    easy = their_class(module, "EasyDict", dict)(gain=2.0)
    data = pickle.dumps({"layer": layer, "kwargs": easy})
    sys.modules.pop(module.__name__)
    path = written(tmp_path, data)
    with pytest.raises(ForbiddenNameError) as raised:
        read_pickle(path)
    assert raised.value.name in ("their_networks.Layer", "their_networks.EasyDict")
    names = {("their_networks", "EasyDict"): as_dict}
    found = read_pickle(path, names, prefixes=("their_networks.",))
    assert isinstance(found, dict) and found["kwargs"] == {"gain": 2.0}
    holder = found["layer"]
    assert isinstance(holder, Holder) and holder.class_name == "their_networks.Layer"
    assert isinstance(holder.state, dict) and holder.state["parent"] is holder
    assert holder.state["activation"] == "their_networks.relu"


def test_persistent_object_of_stylegan(tmp_path: Path, module: types.ModuleType) -> None:
    def _reconstruct_persistent_obj(meta: object) -> object:
        raise AssertionError(meta)

    _reconstruct_persistent_obj.__module__ = module.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    vars(module)["_reconstruct_persistent_obj"] = _reconstruct_persistent_obj
    ran = tmp_path / "ran"
    state = {"_init_args": (512,), "_init_kwargs": {"c_dim": 25}, "_parameters": {"w": torch.ones(2)}}

    class Network:
        def __reduce__(self) -> tuple[object, ...]:
            source = f"open({str(ran)!r}, 'w')"
            meta = {"type": "class", "version": 6, "module_src": source, "class_name": "Generator", "state": state}
            return _reconstruct_persistent_obj, (meta,)

    data = pickle.dumps({"G_ema": Network()})
    sys.modules.pop(module.__name__)
    names = {("their_networks", "_reconstruct_persistent_obj"): as_persistent}
    found = read_pickle(written(tmp_path, data), names)
    assert isinstance(found, dict)
    generator = found["G_ema"]
    assert isinstance(generator, Holder) and generator.class_name == "Generator"
    assert generator.args == (512,) and generator.kwargs == {"c_dim": 25}
    assert isinstance(generator.state, dict) and torch.equal(generator.state["_parameters"]["w"], torch.ones(2))
    assert not ran.exists()


def hostile_pickles(victim: Path) -> dict[str, bytes]:
    """Ways to have something called; each would create `victim` if it worked."""
    name = str(victim).encode()
    return {
        "reduce": pickle.dumps({"f": np.zeros(2), "x": Opener(victim)}),
        "protocol 0": b"cos\nsystem\n(S'touch " + name + b"'\ntR.",
        "inst": b"(S'touch " + name + b"'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nS'touch " + name + b"'\no.",
        "dotted name": b"\x80\x04\x8c\x0cheadforge.os\x8c\x06system\x93\x8c"
        + bytes([len(name) + 6]) + b"touch " + name + b"\x85R.",
        "import": b"c__builtin__\n__import__\n(S'antigravity'\ntR.",
        "getattr": b"c__builtin__\ngetattr\n(c__builtin__\nset\nS'mro'\ntR.",
        "eval": b"c__builtin__\neval\n(S'open(\"" + name + b"\", \"w\")'\ntR.",
        "load of a storage": b"\x80\x02ctorch.storage\n_load_from_bytes\nB"
        + struct.pack("<I", len(inner := legacy_torch(victim))) + inner + b"\x85R.",
    }  # fmt: skip


def legacy_torch(victim: Path) -> bytes:
    """A file of torch.save's old format with a hostile pickle inside."""
    buffer = io.BytesIO()
    torch.save(Opener(victim), buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", hostile_pickles(Path("victim")))
def test_nothing_that_a_pickle_names_is_called(tmp_path: Path, kind: str) -> None:
    victim = tmp_path / "victim"
    path = written(tmp_path, hostile_pickles(victim)[kind])
    with pytest.raises(InputError) as raised:
        read_pickle(path)
    assert not victim.exists()
    if kind != "load of a storage":
        assert isinstance(raised.value, ForbiddenNameError)
    holders = {("builtins", "open"): lambda h: h, ("io", "open"): lambda h: h}
    if kind == "reduce":
        found = read_pickle(path, holders)
        assert isinstance(found, dict) and isinstance(found["x"], Holder) and not victim.exists()


def test_hostile_object_array_is_not_loaded(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    np.save(tmp_path / "a.npy", np.array([Opener(victim)], dtype=object), allow_pickle=True)
    with pytest.raises(ForbiddenNameError):
        read_npy(tmp_path / "a.npy")
    assert not victim.exists()


def test_objects_can_not_pose_as_memory(tmp_path: Path) -> None:
    """numpy itself trusts the flags in a pickled dtype, and would take these bytes for pointers."""
    state = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    head = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x01\x85"
    data = head + b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R" + state + b"\x89U\x08AAAAAAAAtb."
    with pytest.raises(PickleFormatError):
        read_pickle(written(tmp_path, data))


def test_tensor_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    storage = torch.ones(4).untyped_storage()

    class Long:
        def __reduce__(self) -> tuple[object, ...]:
            typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
            return torch._utils._rebuild_tensor_v2, (typed, 1, (4,), (1,), False, collections.OrderedDict())

    with pytest.raises(PickleFormatError):
        read_pickle(written(tmp_path, pickle.dumps(Long())))


@pytest.mark.parametrize("shape", [(3,), (5,), (0,), (2, 3)])
def test_arrays_with_other_than_their_bytes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    class Array:
        def __reduce__(self) -> tuple[object, ...]:
            reconstruct, args, state = np.arange(4.0).__reduce__()
            return reconstruct, args, (state[0], shape, *state[2:])

    with pytest.raises(PickleFormatError):
        read_pickle(written(tmp_path, pickle.dumps(Array())))


def whole_pickle() -> bytes:
    return pickle.dumps({"a": np.arange(100), "b": ["x"] * 10}, 4)


BAD_FILES = {
    "empty": (b"", "is empty"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 5\n", "Git LFS pointer"),
    "web page": (b"\n<!DOCTYPE html><html><title>Sign in</title>", "web page"),
    "page in capitals": (b"\xef\xbb\xbf<HTML><BODY>404", "web page"),
    "truncated": (whole_pickle()[:-40], "it is truncated"),
    "truncated early": (whole_pickle()[:30], "it is truncated"),
    "text": (b"404: Not Found", "not a pickle"),
    "noise": (bytes(range(255, 0, -1)), "not a pickle"),
    "zip": (b"PK\x03\x04" + bytes(100), "zip archive"),
    "of itself": (b"\x80\x02c__builtin__\nset\n]q\x00\x85Rq\x01h\x00h\x01a0.", "contains itself"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_get_one_message_with_help(tmp_path: Path, kind: str) -> None:
    data, said = BAD_FILES[kind]
    path = written(tmp_path, data)
    with pytest.raises(InputError) as raised:
        read_pickle(path)
    assert said in raised.value.message and str(path) in raised.value.message and raised.value.help


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_never_raise_anything_else(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    value = {"a": np.arange(20), "b": collections.OrderedDict(x=torch.ones(3)), "c": {1, 2}}
    data = bytearray(pickle.dumps(value, 2 if seed % 2 else 4))
    for place in rng.integers(0, len(data), 3):
        data[place] = rng.integers(0, 256)
    try:
        read_pickle(written(tmp_path, bytes(data)))
    except HeadforgeError as error:
        assert error.help


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pkl", tmp_path):
        with pytest.raises(InputError):
            read_pickle(path)
