"""YAML texts that may hold anything: looked at as a stream of events before a value is made of them."""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

MAX_CHARACTERS = 64 << 20
MAX_DEPTH = 100
MAX_NODES = 5_000_000
"""Of a document in which each alias is written out."""


def parse_yaml(text: str, yaml: YAML | None = None) -> Any:
    """Return the value of a YAML text. Raises YAMLError for any fault: too long, too deep, made of itself."""
    try:
        _check(text)
        return (yaml or YAML(typ="safe")).load(text)
    except YAMLError:
        raise
    except Exception as error:  # the constructors raise whatever a wrong value leads to
        raise YAMLError(f"{type(error).__name__}: {error}") from error


def _check(text: str) -> None:
    """Raise YAMLError for what the composer, which calls itself, would break at."""
    if len(text) > MAX_CHARACTERS:
        raise YAMLError(f"it has more than {MAX_CHARACTERS >> 20} Mi characters")
    sizes: dict[str, int] = {}
    parents: list[tuple[str | None, int]] = []
    n_nodes = 0
    for event in YAML(typ="safe").parse(text):
        if isinstance(event, AliasEvent):
            if event.anchor not in sizes:
                raise YAMLError(f"the alias *{event.anchor} stands inside what it names, or names nothing")
            n_nodes += sizes[event.anchor]
        elif isinstance(event, CollectionStartEvent):
            parents.append((event.anchor, n_nodes))
            n_nodes += 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = parents.pop()
            if anchor is not None:
                sizes[anchor] = n_nodes - before
        elif isinstance(event, ScalarEvent):
            n_nodes += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        if len(parents) > MAX_DEPTH or n_nodes > MAX_NODES:
            raise YAMLError(f"it is nested more than {MAX_DEPTH} deep, or has more than {MAX_NODES} values")
