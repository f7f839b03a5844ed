"""A pickle's opcodes, looked at before any of them is obeyed: what they claim must fit into the file."""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import BinaryIO

from headforge.pickles.errors import PickleFormatError

MAX_TUPLE_DEPTH = 100
MAX_TUPLE_ITEMS = 1_000_000
"""Of a tuple in which each tuple inside is written out: as a key of a dict all of them are hashed."""

_MARK = (-1, -1)
_PLAIN = (1, 0)
_TUPLES = ("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET")
_TO_MARK = pickletools.markobject

Size = tuple[int, int]
"""Items and depth of a value, 1 and 0 unless it is a tuple."""


def scan_pickle(file: BinaryIO, path: Path) -> None:
    """Look at the opcodes from where `file` stands, and go back there.

    Raises PickleFormatError for an index of the memo or a length past the file's size, for tuples nested too deeply
    or written out too long, and for what is no pickle.
    """
    start = file.tell()
    claims = _Claims(file, path.stat().st_size)
    stack: list[Size] = []
    memo: dict[int, Size] = {}
    try:
        for opcode, argument, _ in pickletools.genops(claims):  # pyright: ignore[reportArgumentType]
            if opcode.name == "FRAME":
                claims.require(int(argument or 0))
            elif "PUT" in opcode.name or opcode.name == "MEMOIZE":
                claims.require_index(int(argument or 0))
                memo[len(memo) if opcode.name == "MEMOIZE" else int(argument or 0)] = stack[-1]
            elif "GET" in opcode.name:
                stack.append(memo[int(argument or 0)])
            elif opcode.name == "DUP":
                stack.append(stack[-1])
            elif opcode.name == "MARK":
                stack.append(_MARK)
            else:
                _obey(opcode, stack)
    except PickleFormatError:
        raise
    except Exception as error:  # the reader of opcodes raises whatever a wrong byte leads to
        ends = "exhausted" in str(error) or "not enough data" in str(error) or "no newline" in str(error)
        found = "it is truncated" if ends else f"it is damaged or not a pickle ({error})"
        raise PickleFormatError(path, found) from error
    file.seek(start)


def _obey(opcode: pickletools.OpcodeInfo, stack: list[Size]) -> None:
    """Take from the stack what an opcode takes, and put there what it leaves."""
    taken: list[Size] = []
    before = opcode.stack_before
    if _TO_MARK in before:
        while (top := stack.pop()) is not _MARK:
            taken.append(top)
        before = before[: before.index(_TO_MARK)]
    taken += [stack.pop() for _ in before]
    made = _PLAIN
    if opcode.name in _TUPLES:
        made = (1 + sum(n_items for n_items, _ in taken), 1 + max((depth for _, depth in taken), default=0))
        if made[0] > MAX_TUPLE_ITEMS and len(taken) < MAX_TUPLE_ITEMS // 2:
            raise ValueError(f"a tuple of tuples with more than {MAX_TUPLE_ITEMS} items")
        if made[1] > MAX_TUPLE_DEPTH:
            raise ValueError(f"tuples nested more than {MAX_TUPLE_DEPTH} deep")
    stack.extend(made for _ in opcode.stack_after)


class _Claims:
    """A file that refuses to read more than it holds."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def require(self, n_bytes: int) -> None:
        """Raise ValueError if fewer bytes are left."""
        if n_bytes > self._size - self._file.tell():
            raise ValueError("not enough data for what it claims to hold")

    def require_index(self, index: int) -> None:
        """Raise ValueError for a number that a file of this size has no use for."""
        if index > self._size:
            raise ValueError(f"it numbers a value {index}, in a file of {self._size} bytes")

    def read(self, n_bytes: int) -> bytes:
        """Return the next bytes."""
        self.require(n_bytes)
        return self._file.read(n_bytes)

    def readline(self) -> bytes:
        """Return the next line."""
        return self._file.readline()

    def tell(self) -> int:
        """Return where the file stands."""
        return self._file.tell()
