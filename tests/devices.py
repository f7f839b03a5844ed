"""Calls of entry points, made twice to find tensors that are made on the wrong device.

On the device `meta` tensors have shapes and no values, and mixing them with others raises: a call whose inputs are all
there fails on a tensor that the callee made on the CPU. The other way round, inside `with torch.device("meta")`
whatever is made without naming a device is on `meta`, so that a call with inputs on the CPU fails too; this works also
for entry points that look at values.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

CPU, META = torch.device("cpu"), torch.device("meta")
OWN = "headforge."


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of an entry point."""

    function: Callable[..., object]
    arguments: Callable[[], Sequence[object]]
    """Makes the arguments on the CPU. A method's first one is its object."""
    keywords: Mapping[str, object] = dataclasses.field(default_factory=dict)
    reason: str = ""
    """Why it can't run on `meta`; empty if it can."""

    @property
    def name(self) -> str:
        """Module and function, without the package's name."""
        return name_of(self.function)


def name_of(function: Callable[..., object]) -> str:
    """Such as "render.mesh.rasterize"."""
    function = inspect.unwrap(function)
    return f"{function.__module__}.{function.__qualname__}".removeprefix(OWN)


def moved(value: Any, device: torch.device) -> Any:
    """The same value with all tensors inside it on `device`; modules are copied first."""
    if isinstance(value, Tensor):
        return value.detach().to(device).requires_grad_(value.requires_grad)
    if isinstance(value, nn.Module):
        return copy.deepcopy(value).to(device)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: moved(getattr(value, f.name), device) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    if isinstance(value, Mapping):
        return {key: moved(item, device) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(moved(item, device) for item in value)
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor inside a value."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, nn.Module):
        yield from (*value.parameters(), *value.buffers())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for f in dataclasses.fields(value):
            yield from tensors_in(getattr(value, f.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


def check_on_meta(call: Call) -> None:
    """With inputs on `meta` everything that comes back is there, and something does."""
    found = list(tensors_in(call.function(*moved(call.arguments(), META), **moved(call.keywords, META))))
    assert found, "nothing came back that could be looked at"
    assert all(tensor.device == META for tensor in found)


def check_on_cpu(call: Call) -> None:
    """With inputs on the CPU nothing is made on torch's default device."""
    arguments = call.arguments()
    with META:
        found = list(tensors_in(call.function(*arguments, **call.keywords)))
    assert all(tensor.device == CPU for tensor in found)


def parametrized(calls: Sequence[Call]) -> tuple[pytest.MarkDecorator, pytest.MarkDecorator]:
    """Over those that run on `meta`, and over all."""
    named = [[pytest.param(c, id=c.name) for c in some] for some in ([c for c in calls if not c.reason], calls)]
    return pytest.mark.parametrize("call", named[0]), pytest.mark.parametrize("call", named[1])


def entry_points(modules: Sequence[ModuleType]) -> set[str]:
    """Public functions of the modules, and public methods of the networks in them."""
    found = set()
    for module in modules:
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(value):
                found.add(name_of(value))
            elif inspect.isclass(value) and issubclass(value, nn.Module):
                methods = [(n, m) for n, m in vars(value).items() if not n.startswith("_")]
                found |= {name_of(m) for n, m in methods if inspect.isfunction(m)}
    return found


def check_complete(calls: Sequence[Call], others: Collection[str], modules: Sequence[ModuleType]) -> None:
    """Every entry point of the modules is called, or named among the others with its reason; and nothing else is."""
    called, wanted = {call.name for call in calls}, entry_points(modules)
    assert not wanted - called - set(others), "put these into the table of calls"
    assert not set(others) & called, "these are called: take them out of the others"
    assert not set(others) - wanted, "these are no entry points any more"
