"""Items as Prefect tasks on a private server: hits say Cached, crashes are tried again, one bad item stops no other."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.project import quiet_environment
from flows.server import prefect_server
from headforge.progress import SILENT
from headforge.store.objects import Recipe, Store
from tasks.engine import Engine
from tasks.items import Built, Item
from tests.tasks import jobs


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADFORGE_HOME", str(tmp_path_factory.mktemp("home")))
        for name in ("PREFECT_API_URL", "PREFECT_HOME", "PATH"):
            patch.setenv(name, os.environ.get(name, ""))
        patch.delenv("PREFECT_API_URL")
        patch.delenv("PREFECT_HOME")
        quiet_environment()
        with prefect_server() as url:
            yield url


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


SERVER_INGEST_S = 60.0


def item(name: str, function: object, *args: object, resumable: bool = False) -> Item:
    return Item(name, Recipe(name, 1, {}, {}, {}), function, args, resumable)  # type: ignore[arg-type]


def build(server: str, store: Store, items: list[Item], retries: int = 0) -> Built:
    from prefect import flow
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from tasks.building import Workshop, build_items

    with temporary_settings({PREFECT_API_URL: server, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        with Engine(1, SILENT) as engine:
            workshop = Workshop(store, engine, retries)
            return flow(name="test", validate_parameters=False)(lambda: build_items(workshop, items))()


def state_names(server: str) -> list[str]:
    request = urllib.request.Request(f"{server}/task_runs/filter", b"{}", {"Content-Type": "application/json"})
    deadline = time.monotonic() + SERVER_INGEST_S
    while True:  # the server takes states in a while after the flow has ended
        with urllib.request.urlopen(request) as answer:
            names = sorted((run["state"] or {"name": "Pending"})["name"] for run in json.loads(answer.read()))
        if not {"Pending", "Running"} & set(names) or time.monotonic() > deadline:
            return names
        time.sleep(0.5)


@pytest.mark.slow
def test_second_build_is_a_hit_that_the_server_shows(server: str, store: Store) -> None:
    items = [item("a", jobs.write_text, "a"), item("b", jobs.write_text, "b")]
    first, second = build(server, store, items), build(server, store, items)
    assert [thing is not None and thing.hit for thing in first.objects] == [False, False]
    assert [thing is not None and thing.hit for thing in second.objects] == [True, True]
    assert "Cached" in state_names(server)


@pytest.mark.slow
def test_one_refused_item_stops_no_other(server: str, store: Store) -> None:
    built = build(server, store, [item("bad", jobs.refuse), item("good", jobs.write_text, "x")], retries=1)
    assert built.objects[0] is None
    assert built.objects[1] is not None
    assert [(failure.label, failure.help) for failure in built.failures] == [("bad", "use y.")]


@pytest.mark.slow
def test_crash_is_tried_again(server: str, store: Store, tmp_path: Path) -> None:
    built = build(server, store, [item("c", jobs.crash_once, tmp_path / "marker")], retries=1)
    assert not built.failures


@pytest.mark.slow
def test_resumable_item_finds_what_it_left(server: str, store: Store) -> None:
    work = item("r", jobs.go_on, resumable=True)
    assert build(server, store, [work]).failures
    (found,) = build(server, store, [work]).objects
    assert found is not None
    assert (found.path / "text").read_text() == "half and whole"
    assert {path.name for path in found.path.iterdir()} == {"text", "MANIFEST.json"}
