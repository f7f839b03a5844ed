"""Docstrings and texts are in plain words: function docstrings begin with a verb, and retired phrases do not return."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("headforge", "tasks", "flows")
TEXT_FOLDERS = (*PACKAGES, "benchmarks", "examples", "docs", "presets", "tests")
TEXT_SUFFIXES = (".py", ".md", ".yaml", ".sh", ".toml", ".js", ".html")

NOT_VERBS = frozenset(
    "a an the this that these those all any both each every no some such same one two other another "
    "what whatever which who whose whoever whether how when where why if while as so once than "
    "of in on at by for from with to into about after before between its their it they his her "
    "nobody nothing none everything everybody everyone something somebody only also not "
    "is are was were has have".split()
)
"""Words that don't begin a function's docstring: articles, determiners, pronouns, question words, prepositions."""
RETURN_OF = re.compile(r"Return (of|is|are|was|has|have)\b")
"""Sentences in which "Return" was put before a text that is not an object."""
THIRD_PERSON = frozenset(
    "adds answers applies asks begins brings builds calls checks clears computes converts copies counts creates draws "
    "ends fits gives goes hashes holds keeps leaves lets loads locks logs looks makes marks measures moves notes "
    "opens prints puts raises reads records refuses registers removes renders repairs replaces reports returns runs "
    "samples says sends sets shows solves starts stores takes tells tracks trains turns waits writes yields".split()
)
"""A docstring is an instruction, such as "Write", and not a report, such as "Writes"."""
EXCEPTIONS: frozenset[str] = frozenset()
"""Functions, as "file:function", that may begin otherwise."""

RETIRED = (
    "nobody foresaw",
    "too like",
    "what a person sees",
    "what a person reads",
    "as far as can be told",
    "here and there",
    "gone already",
    "how far it is",
    "nobody knows",
    "who reads",
    "whoever",
    "anybody",
    "stays finished",
    "what draws people",
    "wants to know",
    "night by night",
)
"""Phrases, in lower case, that plainer ones have replaced."""
KEPT = frozenset({("headforge/report/sections/coverage.py", "too like")})
"""Phrases in the visible text of the report page, whose bytes stay the same."""


def functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield the functions below `node`, nested ones and methods too, with dotted names."""
    for child in ast.iter_child_nodes(node):
        name = f"{prefix}{child.name}" if isinstance(child, ast.FunctionDef | ast.ClassDef) else prefix
        if isinstance(child, ast.FunctionDef):
            yield name, child
        yield from functions(child, f"{name}." if isinstance(child, ast.FunctionDef | ast.ClassDef) else prefix)


def is_property(function: ast.FunctionDef) -> bool:
    names = (ast.unparse(decorator) for decorator in function.decorator_list)
    return any(name.partition("(")[0].endswith(("property", ".setter")) for name in names)


@functools.cache
def first_sentences(package: str) -> list[tuple[str, str]]:
    """Return (file:function, first line of the docstring) of the functions and methods, without properties."""
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        for name, function in functions(ast.parse(path.read_text(encoding="utf-8"))):
            text = ast.get_docstring(function)
            if text is not None and not is_property(function) and f"{place}:{name}" not in EXCEPTIONS:
                found.append((f"{place}:{name}", text.partition("\n")[0]))
    return found


def begins_with_verb(sentence: str) -> bool:
    word = re.match(r"[A-Z][a-z-]+(?=[ .,;:]|$)", sentence)
    if word is None or RETURN_OF.match(sentence):
        return False
    return word[0].lower() not in NOT_VERBS | THIRD_PERSON


@pytest.mark.parametrize("package", PACKAGES)
def test_function_docstrings_begin_with_a_verb(package: str) -> None:
    odd = [f"{place}: {sentence}" for place, sentence in first_sentences(package) if not begins_with_verb(sentence)]
    assert not odd, "begin these docstrings with a verb, such as Return:\n" + "\n".join(odd)


@pytest.mark.parametrize(
    "sentence",
    [
        "The mean.", "A mean.", "All of it.", "What is there.", "Whether it is there.", "[N, 3] points.", "`a` of b.",
        "… of it.", "Return of it.", "Return is 1.", "Runs in a worker.", "sRGB to linear.",
    ],
)  # fmt: skip
def test_other_beginnings_are_found(sentence: str) -> None:
    assert not begins_with_verb(sentence)
    assert begins_with_verb("Return the mean [N, 3].") and begins_with_verb("Ignore.") and begins_with_verb("See x.")


def texts() -> Iterator[Path]:
    """Yield the files with code and documentation, except this one."""
    for name in (
        "README.md",
        "Makefile",
        "dvc.yaml",
        "params.yaml",
        "prefect.yaml",
        "pyproject.toml",
        "data/README.md",
    ):
        yield ROOT / name
    for folder in TEXT_FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in TEXT_SUFFIXES and path != Path(__file__):
                yield path


def test_retired_phrases_are_gone() -> None:
    found = []
    for path in texts():
        words = " ".join(path.read_text(encoding="utf-8").lower().split())
        place = path.relative_to(ROOT).as_posix()
        found += [
            f"{place}: {phrase}"
            for phrase in RETIRED
            if (place, phrase) not in KEPT and re.search(rf"\b{re.escape(phrase)}\b", words)
        ]
    assert not found, "write these in plain words:\n" + "\n".join(found)
