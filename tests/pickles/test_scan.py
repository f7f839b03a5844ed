"""Pickles that claim more than they hold: refused before anything is made of them."""

from __future__ import annotations

import pickle
import resource
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from headforge.errors import InputError
from headforge.pickles import PickleFormatError, read_npy, read_pickle
from headforge.priors import tensor_files
from headforge.priors.tensor_files import read_tensors

DOUBLED = b"}(N\x85q\x00" + b"".join(
    b"0h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(60)
)
BOMBS = {
    "memo index": b"\x80\x02]r" + struct.pack("<I", 1 << 29) + b".",
    "memo index as text": b"]p536870912\n.",
    "length of bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 33) + b"x.",
    "length of a bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x.",
    "length of a frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 33) + b"N.",
    "digits": b"I" + b"9" * 2_000_000 + b"\n.",
    "a key of doubled tuples": DOUBLED + b"I1\nu.",
    "tuples in tuples": b")" + b"\x85" * 200_000 + b".",
    "marks only": b"(" * 100_000 + b".",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bomb(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(BOMBS[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PickleFormatError):
        read_pickle(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, "kilobytes"


def test_bomb_in_an_array_of_objects(tmp_path: Path) -> None:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }\n"
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + BOMBS["memo index"])
    with pytest.raises(PickleFormatError):
        read_npy(path)


@pytest.mark.parametrize("header", ["{'descr': '<f8', 'fortran_order': False, 'shape': (10**12,), }", "(" * 60_000])
def test_header_of_an_array(header: str, tmp_path: Path) -> None:
    header = header.replace("10**12", "1000000000000") + "\n"
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
    with pytest.raises(PickleFormatError):
        read_npy(path)


@pytest.mark.parametrize("protocol", range(6))
def test_large_flat_and_shared_values_are_none(protocol: int, tmp_path: Path) -> None:
    shared = tuple(range(1000))
    value = {"flat": tuple(range(5000)), ("k", (1, 2)): [shared] * 500, "array": np.arange(6.0), "lists": [[[[1]]]]}
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    found = read_pickle(path)
    assert isinstance(found, dict)
    assert found["flat"] == value["flat"]
    assert found["k", (1, 2)] == value["k", (1, 2)]


def test_archive_that_unpacks_to_far_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_files, "MIN_UNPACKED_BYTES", 1 << 20)
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}." + bytes(8 << 20))
        archive.writestr("archive/version", "3")
    with pytest.raises(InputError, match="would unpack"):
        read_tensors(path)
