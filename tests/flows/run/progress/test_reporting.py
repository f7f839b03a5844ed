"""Lines where there is no terminal, a bar where there is one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flows.run.progress import reporting
from flows.run.progress.reporting import StageProgress
from headforge.store.objects.store import Recipe
from tasks.items import Item


def item(label: str) -> Item:
    return Item(label, Recipe("synthesize", 1, {"label": label}, {}, {}), print, (), n_parts=2, part="subject")


def work(progress: StageProgress) -> None:
    items = [item("a"), item("b")]
    progress.begin(items, "shards")
    attempt = progress.item_begun(items[0])
    attempt.start(2, "subject")
    attempt.item_done("0")
    attempt.item_rejected("1/3", "blurred")
    attempt.item_done("1")
    attempt.metric("loss", 0.5, 10)
    progress.item_ended(items[0], False)
    progress.item_ended(items[1], True)
    progress.end()


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "LINE_INTERVAL_S", 0.0)
    with StageProgress("synthesize") as progress:
        work(progress)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("synthesize: 2/2 shards, 1 found in the store, 4/4 subjects")
    assert lines[-2].endswith("1 rejected, loss 0.5")
    assert lines[-1] == "synthesize: shards: 1 made, 1 found in the store"
    assert not any("\x1b" in line for line in lines)
    assert progress.metrics == [("loss", 0.5, 10)]


def test_few_lines_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress("synthesize") as progress:
        work(progress)
    assert capsys.readouterr().out.splitlines() == ["synthesize: shards: 1 made, 1 found in the store"]


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(reporting, "Console", lambda **_: Console(file=screen, force_terminal=True, width=120))
    with StageProgress("synthesize") as progress:
        work(progress)
    assert "2/2 shards, 1 found in the store, 4/4 subjects" in screen.getvalue()
