"""Records of the calls in a pickle, which are never executed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Self


@dataclass(eq=False)
class Holder:
    """An object of a pickle: the name of its class and the data it is made from, without its code."""

    class_name: str
    """Module and class, such as "torch.nn.modules.linear.Linear"."""
    args: tuple[object, ...] = ()
    kwargs: dict[str, object] = field(default_factory=dict)
    state: object = None
    """The argument of its `__setstate__`, most often its attributes by name; None if it has none."""
    items: list[object] = field(default_factory=list)
    """The items to append or add, if it is a kind of list or set."""
    pairs: list[tuple[object, object]] = field(default_factory=list)
    """The entries to set, if it is a kind of dict."""


Rebuild = Callable[[Holder], object]
"""Builds the value of an object from a holder of finished values."""


class Record:
    """Base of the classes that replace the names in a pickle while it is read: they only record calls.

    The unpickler acts on objects in seven ways, all handled here: a call, `__new__`, `__setstate__`, `__setitem__`,
    `append`, `extend`, `add`.
    """

    __slots__ = ("args", "items", "kwargs", "pairs", "state")
    origin: ClassVar[tuple[str, str]] = ("", "")
    """Module and name that the pickle gave."""

    args: tuple[object, ...]
    kwargs: dict[str, object]
    state: object
    items: list[object]
    pairs: list[tuple[object, object]]

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Record the arguments."""
        self = super().__new__(cls)
        self.args, self.kwargs, self.state, self.items, self.pairs = args, kwargs, None, [], []
        return self

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        self.pairs.append((key, value))

    def append(self, value: object) -> None:
        """Record one item."""
        self.items.append(value)

    def extend(self, values: Iterable[object]) -> None:
        """Record several items."""
        self.items.extend(values)

    add = append


def recorder(module: str, name: str) -> type[Record]:
    """Return a class whose instances record the calls of `module.name`."""
    return type("Recorded", (Record,), {"__slots__": (), "origin": (module, name)})
