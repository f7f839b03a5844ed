"""Items as Prefect tasks on a private server: hits say Cached, crashes are tried again, one bad item stops no other."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.project.project import quiet_environment
from flows.services.access import Access
from flows.services.server import prefect_server
from headforge.progress import SILENT, Progress
from headforge.store.objects.store import Recipe, Store
from tasks.engines.dask_engine import DaskEngine
from tasks.engines.engine import Engine, EngineConfig
from tasks.engines.process_engine import ProcessEngine
from tasks.items import Built, Item
from tests.flows.projects import flip_bit
from tests.tasks import jobs


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADFORGE_HOME", str(tmp_path_factory.mktemp("home")))
        for name in ("PREFECT_API_URL", "PREFECT_HOME", "PATH"):
            patch.setenv(name, os.environ.get(name, ""))
        patch.delenv("PREFECT_API_URL")
        patch.delenv("PREFECT_HOME")
        quiet_environment()
        with prefect_server() as access:
            yield access


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


SERVER_INGEST_S = 60.0


class NoWatch:
    def item_begun(self, item: Item) -> Progress:
        return SILENT

    def item_ended(self, item: Item, is_hit: bool) -> None: ...

    def item_failed(self, item: Item) -> None: ...


def item(name: str, function: object, *args: object, resumable: bool = False) -> Item:
    return Item(name, Recipe(name, 1, {}, {}, {}), function, args, resumable)  # type: ignore[arg-type]


def build(server: Access, store: Store, items: list[Item], retries: int = 0, engine: Engine | None = None) -> Built:
    from prefect import flow
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.task_runners import ThreadPoolTaskRunner

    from tasks.building import Workshop, build_items

    with server.named(), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        with contextlib.nullcontext(engine) if engine is not None else ProcessEngine(1) as running:
            workshop = Workshop(store, running, retries, NoWatch())
            runner: Any = ThreadPoolTaskRunner(max_workers=running.n_slots)
            body = flow(name="test", task_runner=runner, validate_parameters=False)(
                lambda: build_items(workshop, items)
            )
            return body()


def state_names(server: Access) -> list[str]:
    deadline = time.monotonic() + SERVER_INGEST_S
    while True:  # the server takes states in a while after the flow has ended
        with server.client() as client:
            names = sorted(run.state.name or "" if run.state else "Pending" for run in client.read_task_runs())
        if not {"Pending", "Running"} & set(names) or time.monotonic() > deadline:
            return names
        time.sleep(0.5)


@pytest.mark.slow
def test_second_build_is_a_hit_that_the_server_shows(server: Access, store: Store) -> None:
    items = [item("a", jobs.write_text, "a"), item("b", jobs.write_text, "b")]
    first, second = build(server, store, items), build(server, store, items)
    assert [thing is not None and thing.hit for thing in first.objects] == [False, False]
    assert [thing is not None and thing.hit for thing in second.objects] == [True, True]
    assert "Cached" in state_names(server)


@pytest.mark.slow
def test_object_whose_damage_hides_from_size_and_time_is_made_again(server: Access, store: Store) -> None:
    work = item("a", jobs.write_text, "right")
    (made,) = build(server, store, [work]).objects
    assert made is not None
    flip_bit(made.path / "text")
    (again,) = build(server, store, [work]).objects
    assert again is not None and not again.hit
    assert (again.path / "text").read_text() == "right"


@pytest.mark.slow
def test_one_refused_item_stops_no_other(server: Access, store: Store) -> None:
    built = build(server, store, [item("bad", jobs.refuse), item("good", jobs.write_text, "x")], retries=1)
    assert built.objects[0] is None
    assert built.objects[1] is not None
    assert [(failure.label, failure.help) for failure in built.failures] == [("bad", "use y.")]


@pytest.mark.slow
def test_crash_is_tried_again(server: Access, store: Store, tmp_path: Path) -> None:
    built = build(server, store, [item("c", jobs.crash_once, tmp_path / "marker")], retries=1)
    assert not built.failures


@pytest.mark.slow
def test_resumable_item_finds_what_it_left(server: Access, store: Store) -> None:
    work = item("r", jobs.go_on, resumable=True)
    assert build(server, store, [work]).failures
    (found,) = build(server, store, [work]).objects
    assert found is not None
    assert (found.path / "text").read_text() == "half and whole"
    assert {path.name for path in found.path.iterdir()} == {"text", "MANIFEST.json"}


@pytest.mark.slow
def test_items_on_dask_survive_a_poison_one_and_a_killed_worker(server: Access, store: Store, tmp_path: Path) -> None:
    items = [
        item("poison", jobs.die),
        item("killed", jobs.kill_worker_once, tmp_path / "marker"),
        *[item(name, jobs.write_text, name) for name in "abcd"],
    ]
    with DaskEngine(EngineConfig("dask-local", workers=2), tmp_path, print) as engine:
        first = build(server, store, items, retries=1, engine=engine)
        second = build(server, store, items[1:], engine=engine)
    assert [failure.label for failure in first.failures] == ["poison"]
    assert "died" in first.failures[0].reason
    assert [thing is not None and thing.hit for thing in first.objects[1:]] == [False] * 5
    assert [thing is not None and thing.hit for thing in second.objects] == [True] * 5
    assert (tmp_path / "marker").exists()
    names = state_names(server)
    assert "Cached" in names
    assert "Running" not in names
