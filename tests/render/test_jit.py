"""Kernels compile whatever becomes of the cache on disk."""

from __future__ import annotations

import errno
import importlib
import logging
from pathlib import Path
from typing import Any

import pytest
from numba.core.caching import FunctionCache

from headforge.render import jit


def plus_one(x: int) -> int:
    return x + 1


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    jit._log_failure.cache_clear()
    return tmp_path


def test_the_next_process_reads_what_this_one_compiled(cache_folder: Path) -> None:
    assert jit.kernel()(plus_one)(1) == 2
    assert list(cache_folder.rglob("*.nbc"))
    again: Any = jit.kernel()(plus_one)
    assert again(1) == 2
    assert sum(again.stats.cache_hits.values()) == 1


def test_an_edit_in_another_module_of_the_package_compiles_again(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert jit.kernel()(plus_one)(1) == 2
    monkeypatch.setattr(jit, "_sources_digest", lambda folder: "edited")
    again: Any = jit.kernel()(plus_one)
    assert again(1) == 2
    assert sum(again.stats.cache_hits.values()) == 0


@pytest.mark.parametrize("module", ["headforge.render.mesh", "headforge.render.splatting.kernels"])
def test_the_cache_sees_edits_anywhere_in_the_domain_package(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[Path] = []
    monkeypatch.setattr(jit, "_sources_digest", lambda folder: watched.append(folder) or "same")
    (dispatcher,) = {id(d): d for d in kernels_of(module)}.values()
    dispatcher._cache._index_key((), dispatcher.targetctx.codegen())
    assert [folder.name for folder in watched] == ["render"]


def kernels_of(module: str) -> list[Any]:
    """Return the first kernel of a module."""
    found = vars(importlib.import_module(module)).values()
    return [value for value in found if getattr(value, "__module__", "") == module and hasattr(value, "_cache")][:1]


def test_a_full_disk_is_no_error(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def save(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FunctionCache, "save_overload", save)
    with caplog.at_level(logging.WARNING, logger="headforge"):
        assert jit.kernel()(plus_one)(1) == 2
        assert jit.kernel("i8(i8)")(plus_one)(1) == 2
    assert len(caplog.records) == 1 and "No space left" in caplog.text
    assert not list(cache_folder.rglob("*.nbc"))


def test_a_cache_that_cannot_be_read_is_no_error(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*args: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(FunctionCache, "load_overload", load)
    assert jit.kernel()(plus_one)(1) == 2


def test_no_place_for_the_cache_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(FunctionCache, "__init__", refuse)
    assert jit.kernel()(plus_one)(1) == 2


def test_a_signature_compiles_at_once_and_nothing_else_after() -> None:
    eager: Any = jit.kernel("i8(i8)")(plus_one)
    assert [tuple(map(str, s)) for s in eager.signatures] == [("int64",)]
    with pytest.raises(TypeError):
        eager("one")
