"""Pickles and object arrays of other programs, read as plain values.

A pickle is a program that may call any function it names. Here nothing is called: each name becomes a class that
records calls (`records.Record`), a name that is not allowed stops the reading, and `values` and the caller's functions
build the values from the records. Python's own unpickler runs the program; the encoding is latin1, for pickles of
Python 2.
"""

from __future__ import annotations

import contextlib
import math
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from headforge.errors import HeadforgeError
from headforge.pickles.downloads import check_downloaded
from headforge.pickles.errors import ForbiddenNameError, PickleFormatError
from headforge.pickles.records import Holder, Rebuild, Record, recorder
from headforge.pickles.scan import scan_pickle
from headforge.pickles.values import CONSTANTS, REBUILDS, current_module

NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK\x03\x04"
_ATOMS = (type(None), bool, int, float, complex, str, bytes, bytearray)
_RECONSTRUCTOR = ("copyreg", "_reconstructor")

Names = Mapping[tuple[str, str], Rebuild]
"""Rebuild functions of classes and functions, by (module, name)."""


def read_pickle(path: Path, classes: Names | None = None, *, prefixes: Sequence[str] = ()) -> object:
    """Return the value in a pickle: numbers, strings, lists, dicts, sets, arrays, sparse matrices, tensors on the CPU.

    classes: further allowed names and their rebuild functions, such as `as_dict` and `as_persistent`. prefixes: objects
    of classes whose full name starts with one become a `Holder` each, such as "torch.nn.modules.".

    A class or function that is named but not called becomes its full name, a string. Raises ForbiddenNameError for a
    name that is not allowed, PickleFormatError for a file that is not a pickle, is truncated or inconsistent, and
    InputError (their base) for an unreadable file, an LFS pointer or a web page. Nothing that the file names is called,
    whether reading succeeds or not.
    """
    _refuse_others(path, check_downloaded(path))
    with path.open("rb") as file:
        return _read(file, path, classes or {}, prefixes)


def read_npy(path: Path, classes: Names | None = None, *, prefixes: Sequence[str] = ()) -> np.ndarray:
    """Return the array in an .npy file; the pickle in an object array is read as by `read_pickle`.

    Raises what `read_pickle` raises.
    """
    if not check_downloaded(path).startswith(NPY_MAGIC):
        raise PickleFormatError(path, "it is not an .npy file", "give a file that numpy.save wrote.")
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = read_header(file)
            if not dtype.hasobject:
                if math.prod(shape) * max(dtype.itemsize, 1) > path.stat().st_size:
                    raise ValueError(f"the file is too short for the shape {shape}")
                file.seek(0)
                return np.lib.format.read_array(file, allow_pickle=False)
        except Exception as error:  # numpy parses the header as Python and raises whatever a wrong byte leads to
            raise PickleFormatError(path, f"its array is incomplete ({error})") from error
        found = _read(file, path, classes or {}, prefixes)
    if not isinstance(found, np.ndarray):
        raise PickleFormatError(path, f"it holds a {type(found).__name__}, not an array")
    return found


def _refuse_others(path: Path, head: bytes) -> None:
    others = {ZIP_MAGIC: "a zip archive, as torch.save and numpy.savez write", NPY_MAGIC: "a numpy array"}
    for magic, kind in others.items():
        if head.startswith(magic):
            raise PickleFormatError(path, f"it is {kind}", "give the file of the kind that was asked for.")


def _read(file: BinaryIO, path: Path, classes: Names, prefixes: Sequence[str]) -> object:
    allowed = {**REBUILDS, **classes}
    scan_pickle(file, path)
    try:
        noted = _Reader(file, path, allowed, tuple(prefixes)).load()
    except HeadforgeError:
        raise
    except Exception as error:  # a wrong byte can raise any exception in the unpickler
        found = "it is truncated" if _is_early_end(error) else f"it is damaged or not a pickle ({error})"
        raise PickleFormatError(path, found) from error
    try:
        return _Builder(path, allowed).value(noted)
    except HeadforgeError:
        raise
    except Exception as error:
        raise PickleFormatError(path, f"its values are inconsistent ({error})") from error


def _is_early_end(error: Exception) -> bool:
    """Return whether the unpickler's error means a truncated file."""
    return isinstance(error, EOFError) or any(word in str(error) for word in ("truncated", "exhausted"))


class _Reader(pickle.Unpickler):
    """Python's unpickler with a recorder for every name."""

    def __init__(self, file: BinaryIO, path: Path, allowed: Names, prefixes: tuple[str, ...]) -> None:
        super().__init__(file, encoding="latin1", fix_imports=False)
        self._path, self._allowed, self._prefixes = path, allowed, prefixes

    def find_class(self, module: str, name: str, /) -> type[Record]:
        """Return a recorder for an allowed name."""
        module = current_module(module)
        full_name = f"{module}.{name}"
        origin = (module, name)
        known = origin in self._allowed or origin in CONSTANTS or origin == _RECONSTRUCTOR
        if not known and not full_name.startswith(self._prefixes or ("\0",)):
            raise ForbiddenNameError(self._path, full_name)
        return recorder(module, name)

    def persistent_load(self, pid: object, /) -> object:
        """Refuse references to data beside the pickle: only torch.save's own files have them."""
        raise PickleFormatError(self._path, f"it refers to data outside the file ({pid!r:.60})")


class _Builder:
    """Builder of values from the records of `_Reader`; each object is built once, however often it is referenced."""

    def __init__(self, path: Path, allowed: Names) -> None:
        self._path, self._allowed = path, allowed
        self._made: dict[int, object] = {}
        self._in_progress: set[int] = set()

    def value(self, noted: object) -> object:
        """Return the value of any object that was on the reader's stack."""
        if isinstance(noted, _ATOMS):
            return noted
        key = id(noted)
        if key in self._made:
            return self._made[key]
        if isinstance(noted, list):
            made: list[object] = []
            self._made[key] = made
            made.extend(self.value(item) for item in noted)
        elif isinstance(noted, dict):
            entries: dict[object, object] = {}
            self._made[key] = entries
            entries.update((self.value(k), self.value(v)) for k, v in noted.items())
        elif isinstance(noted, type) and issubclass(noted, Record):
            self._made[key] = CONSTANTS.get(noted.origin, ".".join(noted.origin))
        else:
            with self._once(key):
                self._made[key] = self._finished(noted, key)
        return self._made[key]

    def _finished(self, noted: object, key: int) -> object:
        if isinstance(noted, tuple):
            return tuple(self.value(item) for item in noted)
        if isinstance(noted, set | frozenset):
            return type(noted)(self.value(item) for item in noted)
        if isinstance(noted, Record):
            return self._object(noted, key)
        raise PickleFormatError(self._path, f"it holds a {type(noted).__name__}")

    def _object(self, noted: Record, key: int) -> object:
        origin, args, state_of_base = _constructed(noted)
        holder = Holder(".".join(origin))
        rebuild = self._allowed.get(origin)
        if rebuild is None:
            self._made[key] = holder
        holder.args = tuple(self.value(item) for item in args)
        holder.kwargs = {name: self.value(item) for name, item in noted.kwargs.items()}
        holder.state = self.value(noted.state)
        holder.items = [self.value(item) for item in noted.items]
        holder.pairs = [(self.value(k), self.value(v)) for k, v in [*state_of_base, *noted.pairs]]
        return holder if rebuild is None else rebuild(holder)

    @contextlib.contextmanager
    def _once(self, key: int) -> Iterator[None]:
        """Hold the mark of an object in progress; refuse one that contains itself."""
        if key in self._in_progress:
            raise PickleFormatError(self._path, "an object in it contains itself")
        self._in_progress.add(key)
        try:
            yield
        finally:
            self._in_progress.discard(key)


def _constructed(noted: Record) -> tuple[tuple[str, str], tuple[object, ...], Iterator[tuple[object, object]]]:
    """Return class, arguments and first entries; old pickles use `copyreg._reconstructor(class, base, value)`."""
    if noted.origin != _RECONSTRUCTOR:
        return noted.origin, noted.args, iter(())
    cls, base, value = noted.args
    if not (isinstance(cls, type) and issubclass(cls, Record) and isinstance(base, type) and issubclass(base, Record)):
        raise ValueError("an object without a class")
    if base.origin == ("builtins", "dict") and isinstance(value, dict):
        return cls.origin, (), iter(value.items())
    if base.origin != ("builtins", "object"):
        raise ValueError(f"an object that is a kind of {base.origin[1]}")
    return cls.origin, (), iter(())
