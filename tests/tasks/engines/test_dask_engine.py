"""The same promises as the process engine's, kept by real Dask clusters on this machine."""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import LocalCluster

from headforge.errors import HeadforgeError, MissingExtraError
from headforge.progress import SilentProgress
from tasks.engines import dask_engine, profiles
from tasks.engines.dask_engine import DaskEngine
from tasks.engines.engine import AbortedError, CrashedError, EngineConfig, EngineError
from tasks.items import make_files
from tests.tasks import fake_slurm, jobs

ROOT = Path(__file__).parents[3]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore::UserWarning:distributed"),
]


class Heard(SilentProgress):
    def __init__(self) -> None:
        self.items: list[str] = []
        self.images: list[Path] = []

    def item_done(self, item: str, n: int = 1) -> None:
        self.items.append(item)

    def image(self, name: str, path: Path) -> None:
        self.images.append(path)


def silent(text: str) -> None: ...


def cluster_of_one(n_threads: int) -> Any:
    """Any: Dask's types don't know that it is synchronous."""
    options: dict[str, Any] = {"dashboard_address": None, "processes": n_threads == 1}
    return LocalCluster(n_workers=1, threads_per_worker=n_threads, **options)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskEngine]:
    config = EngineConfig("dask-local", workers=2, gpus=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
        with DaskEngine(config, tmp_path_factory.mktemp("cluster"), silent) as running:
            yield running


def test_workers_are_other_processes_with_one_thread(engine: DaskEngine) -> None:
    assert engine.n_slots == 2
    assert engine.run(jobs.threads) == (1, "1")
    assert engine.run(jobs.process_id) != os.getpid()


def test_browsers_see_nothing_of_it(engine: DaskEngine) -> None:
    assert engine.run(jobs.echo, "x") == "x"
    me = psutil.Process()
    listening = [
        place.laddr
        for process in (me, *me.children(recursive=True))
        for place in process.net_connections("tcp4")
        if place.status == psutil.CONN_LISTEN
    ]
    shown: dict[str, int] = {}
    for ip, port in listening:
        for path in (
            "/health",
            "/info/main/workers.html",
            "/json/counts.json",
            "/metrics",
            "/proxy/1/127.0.0.1/",
            "/api/v1",
        ):
            connection = http.client.HTTPConnection(ip, port, timeout=5)
            with contextlib.suppress(OSError, http.client.HTTPException):  # the encrypted ones hang up
                connection.request("GET", path)
                shown[path] = max(shown.get(path, 0), connection.getresponse().status)
            connection.close()
    assert {ip for ip, _ in listening} == {"127.0.0.1"}
    assert shown.pop("/health") == 200
    assert set(shown.values()) == {404}


def test_reports_arrive_before_the_answer(engine: DaskEngine, tmp_path: Path) -> None:
    heard = Heard()
    engine.run(jobs.write_text, "a", tmp_path, progress=heard)
    engine.run(jobs.show_picture, tmp_path / "x.png", progress=heard)
    assert (heard.items, heard.images) == (["a"], [tmp_path / "x.png"])


def test_errors_come_as_they_do_from_processes(engine: DaskEngine, tmp_path: Path) -> None:
    with pytest.raises(HeadforgeError) as caught:
        engine.run(jobs.refuse, tmp_path)
    assert str(caught.value) == "x can't be used.\nhelp: use y."
    with pytest.raises(CrashedError, match="the first try fails"):
        engine.run(jobs.crash_once, tmp_path / "marker", tmp_path)


def test_item_that_kills_its_worker_takes_no_other_with_it(engine: DaskEngine, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(engine.run, jobs.wait_for, tmp_path / "go", tmp_path)
        while not (tmp_path / "waiting").exists():
            time.sleep(0.01)
        with pytest.raises(CrashedError, match="died"):
            engine.run(make_files, jobs.die, (), (tmp_path,))
        (tmp_path / "go").touch()
        assert other.result() == "went"
    assert engine.run(jobs.echo, "again") == "again"


def test_cards_go_to_the_items_that_need_them(engine: DaskEngine) -> None:
    assert {engine.run(jobs.card, needs_gpu=True) for _ in range(3)} == {"3"}


def test_worker_with_other_code_is_refused(engine: DaskEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_engine, "code_digest", lambda: "another")
    with pytest.raises(HeadforgeError, match="another version of headforge"):
        engine.run(jobs.echo, "x")


def test_cluster_of_somebody_else(tmp_path: Path) -> None:
    with cluster_of_one(n_threads=1) as cluster:
        config = EngineConfig("dask", scheduler_address=cluster.scheduler_address)
        with DaskEngine(config, tmp_path, silent) as engine:
            assert engine.n_slots == 1
            assert engine.run(jobs.echo, "x") == "x"
            with pytest.raises(EngineError, match="needs a GPU"):
                engine.run(jobs.card, needs_gpu=True)
            with ThreadPoolExecutor(1) as pool:
                running = pool.submit(engine.run, jobs.wait_for, tmp_path / "go", tmp_path)
                while not (tmp_path / "waiting").exists():
                    time.sleep(0.01)
                engine.abort()
                with pytest.raises(AbortedError):
                    running.result()
            (tmp_path / "go").touch()


def test_workers_with_several_threads_are_refused(tmp_path: Path) -> None:
    with (
        cluster_of_one(n_threads=2) as cluster,
        pytest.raises(EngineError, match="one thread per worker"),
        DaskEngine(EngineConfig("dask", scheduler_address=cluster.scheduler_address), tmp_path, silent),
    ):
        pass


def test_no_scheduler_at_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_engine, "CONNECT_TIMEOUT_S", 0.5)
    for address in ("tcp://127.0.0.1:1", "no such scheme://x"):
        with (
            pytest.raises(EngineError, match="no Dask scheduler answers") as caught,
            DaskEngine(EngineConfig("dask", scheduler_address=address), tmp_path, silent),
        ):
            pass
        assert address in str(caught.value)


def test_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tasks.engines.dask_engine")
    monkeypatch.setitem(sys.modules, "dask_jobqueue.slurm", None)
    with pytest.raises(MissingExtraError) as caught:
        profiles.make_engine(EngineConfig("dask-local"), tmp_path, silent)
    assert (caught.value.package, caught.value.extra) == ("dask-jobqueue", "cluster")


def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: str = "", gpus: int = 0) -> DaskEngine:
    folder = fake_slurm.install(tmp_path / "bin", refusal)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    config = EngineConfig("slurm", workers=1, gpus=gpus, slurm_interface="lo", slurm_partition="heads")
    return DaskEngine(config, tmp_path / "cluster", silent)


def test_slurm_jobs_do_the_work_and_are_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    with slurm(tmp_path, monkeypatch, gpus=1) as engine:
        engine.run(jobs.write_text, "a", tmp_path, progress=heard, needs_gpu=True)
        with pytest.raises(CrashedError, match="died"):
            engine.run(make_files, jobs.die, (), (tmp_path,))
        assert engine.run(jobs.echo, "again") == "again"
    assert heard.items == ["a"]
    (script, *_) = fake_slurm.scripts(tmp_path / "bin")
    for line in ("#SBATCH -p heads", "#SBATCH --gres=gpu:1", "#SBATCH -t 04:00:00", "tls://", "--resources GPU=1"):
        assert line in script
    assert fake_slurm.cancelled(tmp_path / "bin") == fake_slurm.jobs(tmp_path / "bin")
    assert [path.name for path in (tmp_path / "cluster").iterdir()] == ["logs"], "the keys of the run are still there"


def test_sbatch_that_takes_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        slurm(tmp_path, monkeypatch, refusal="invalid partition") as engine,
        pytest.raises(EngineError, match="invalid partition"),
    ):
        engine.run(jobs.echo, "x")


def test_no_sbatch_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(EngineError, match="no sbatch"),
        DaskEngine(EngineConfig("slurm", workers=1), tmp_path, silent),
    ):
        pass
