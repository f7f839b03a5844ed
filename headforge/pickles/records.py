"""Notes of what a pickle asks for, in place of what it would call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Self


@dataclass(eq=False)
class Holder:
    """An object of a pickle: the name of its class and what it would be made from, with nothing of its code."""

    class_name: str
    """Module and class, such as "torch.nn.modules.linear.Linear"."""
    args: tuple[object, ...] = ()
    kwargs: dict[str, object] = field(default_factory=dict)
    state: object = None
    """What its `__setstate__` would get, most often its attributes by name; None if it has none."""
    items: list[object] = field(default_factory=list)
    """What would be appended or added to it, if it is a kind of list or set."""
    pairs: list[tuple[object, object]] = field(default_factory=list)
    """What would be set in it, if it is a kind of dict."""


Rebuild = Callable[[Holder], object]
"""Makes the value of an object; whatever is in the holder is a finished value already."""


class Record:
    """Base of the classes that stand for the names in a pickle while it is read: calling them only takes notes.

    The interpreter of pickles knows seven ways to act on an object, all of which end here: a call, `__new__`,
    `__setstate__`, `__setitem__`, `append`, `extend`, `add`.
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
        """Note the arguments."""
        self = super().__new__(cls)
        self.args, self.kwargs, self.state, self.items, self.pairs = args, kwargs, None, [], []
        return self

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        self.pairs.append((key, value))

    def append(self, value: object) -> None:
        """Note one item."""
        self.items.append(value)

    def extend(self, values: Iterable[object]) -> None:
        """Note several items."""
        self.items.extend(values)

    add = append


def recorder(module: str, name: str) -> type[Record]:
    """Return a class whose instances note what is asked of `module.name`."""
    return type("Recorded", (Record,), {"__slots__": (), "origin": (module, name)})
