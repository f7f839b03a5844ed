"""Items on Dask workers: a local cluster, an existing cluster, or SLURM jobs. No other file imports Dask.

A call goes to the cluster through a Dask client; the Prefect task that makes it stays in the driver, and with it the
store's lock, the retries and the state `Cached`. So the workers need neither Prefect nor its server, an item found in
the store costs no round trip to a worker, and Dask has nothing to lose: a call's result is a list of hashes, and the
files are in the store. (prefect-dask's runner sends the Prefect task itself to the worker.)

Driver and workers share a file system: HEADFORGE_HOME and the project have the same path on all of them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import platform
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dask.config
from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed import Client, Future, Nanny, Scheduler, SpecCluster, get_worker
from distributed.core import Status
from distributed.scheduler import KilledWorker
from distributed.security import Security

import headforge
from headforge.progress import SILENT, Progress
from tasks.engines.engine import (
    CARDS_VARIABLE,
    WORKER_ENVIRONMENT,
    AbortedError,
    CrashedError,
    EngineConfig,
    EngineError,
    visible_cards,
)
from tasks.engines.worker import Raised, answer_to, opened, packed

CONNECT_TIMEOUT_S = 15.0
ABORT_CHECK_S = 0.5
WAIT_NOTICE_S = 30.0
LOCAL_HOST = "127.0.0.1"
ALLOWED_FAILURES = 100
"""Number of times that Dask may repeat a call whose worker died. Dask also counts calls that were only queued there; a
call that had begun raises an error the second time (`tasks.items.make_files`)."""
PAGES = ["distributed.http.health"]
"""What Dask's servers show to browsers beside the encrypted work; by default also logs, call stacks and a proxy."""
GPU = "GPU"
TOPIC = "headforge"


class DaskEngine:
    """A Dask client and its cluster, which is closed with it unless it existed before; see `Engine`."""

    def __init__(self, config: EngineConfig, folder: Path, say: Callable[[str], None]) -> None:
        self.config = config
        self._folder = folder
        self._say = say
        self._topic = f"{TOPIC}-{uuid.uuid4().hex}"
        self._progress: dict[str, Progress] = {}
        self._refusals: list[str] = []
        """Error messages of sbatch."""
        self._cluster: SpecCluster | None = None
        self._client: Any = None
        """Typed Any: a synchronous client's methods return other types than the annotated ones."""
        self._aborted = False
        self._open = contextlib.ExitStack()
        self._notice = threading.Lock()
        self._last_notice = time.monotonic()

    @property
    def n_slots(self) -> int:
        """`workers`, or the current number of the cluster's threads."""
        if self.config.profile == "dask-local":
            return self.config.n_processes
        return self.config.workers or max(1, sum(self._client.nthreads().values()))

    def __enter__(self) -> Self:
        os.environ.update(WORKER_ENVIRONMENT)
        for name in ("distributed", "tornado.application"):  # errors report what matters
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with self._open as until_open:
            settings = {
                "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
                "distributed.scheduler.http.routes": PAGES,
                "distributed.worker.http.routes": PAGES,
            }
            until_open.enter_context(dask.config.set(settings))
            if self.config.profile == "slurm":
                self._folder.mkdir(parents=True, exist_ok=True)
                self._keys = Path(until_open.enter_context(tempfile.TemporaryDirectory("-keys", dir=self._folder)))
            cluster = CLUSTERS[self.config.profile](self)
            if cluster is not None:
                until_open.enter_context(cluster)  # pyright: ignore[reportGeneralTypeIssues]
            self._cluster = cluster
            self._client = until_open.enter_context(self._connected())
            self._client.subscribe_topic(self._topic, self._hear)
            self._require_single_threads()
            self._open = until_open.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if error is not None:
            self.abort()
        self._open.close()

    def run(
        self, function: Callable[..., Any], *args: object, progress: Progress = SILENT, needs_gpu: bool = False
    ) -> Any:
        """See `Engine.run`."""
        if needs_gpu and not self._has_gpu():
            raise EngineError("an item needs a GPU, and no worker has one.", GPU_HELP[self.config.profile])
        name = f"{function.__name__}-{uuid.uuid4().hex}"
        self._progress[name] = progress
        resources = {GPU: 1} if needs_gpu else None
        future = self._client.submit(
            _answer, packed(function, args), name, self._topic, code_digest(), key=name, pure=False, resources=resources
        )
        try:
            return opened(self._result(future))
        finally:
            future.release()
            del self._progress[name]

    def abort(self) -> None:
        """See `Engine.abort`. Calls on an external cluster run to their end there; their results are discarded."""
        self._aborted = True
        if self.config.profile == "dask-local" and self._cluster is not None:
            for nanny in list(self._cluster.workers.values()):
                with contextlib.suppress(ProcessLookupError):
                    if getattr(nanny, "pid", None):
                        os.kill(nanny.pid, signal.SIGKILL)

    def _result(self, future: Future) -> Any:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        while not done.wait(ABORT_CHECK_S):
            if self._aborted:
                raise AbortedError
            self._look_for_workers()
        if self._aborted:
            raise AbortedError
        try:
            return future.result()
        except KilledWorker as error:
            raise CrashedError("a worker process died (killed, or out of memory)", str(error)) from error
        except Exception as error:
            if self._client.status == "running" and future.status != "cancelled":
                raise CrashedError(f"{type(error).__name__}: {error}", "") from error
            raise EngineError(
                f"the Dask scheduler was lost: {error}.", "start it, and run the command again to resume."
            ) from error

    def _look_for_workers(self) -> None:
        """Print a notice while there are no workers; raise EngineError if none can start."""
        with self._notice:
            if time.monotonic() - self._last_notice < WAIT_NOTICE_S and not self._refusals:
                return
            self._last_notice = time.monotonic()
        if self._client.nthreads():
            return
        if self._refusals:
            raise EngineError(
                f"sbatch rejected a job: {self._refusals[-1]}",
                "check the engine.slurm_* settings; they become the job's #SBATCH lines.",
            )
        self._say("waiting for Dask workers: none has started yet.")

    def _hear(self, event: tuple[float, tuple[str, str, tuple[Any, ...]]]) -> None:
        name, method, content = event[1]
        progress = self._progress.get(name, SILENT)
        if method == "image":
            progress.image(content[0], Path(content[1]))
        else:
            getattr(progress, method)(*content)

    def _has_gpu(self) -> bool:
        if self.config.profile != "dask":
            return self.config.gpus > 0
        workers: Mapping[str, Any] = self._client.scheduler_info()["workers"]
        return any(worker["resources"].get(GPU, 0) >= 1 for worker in workers.values())

    def _connected(self) -> Client:
        target = self.config.scheduler_address if self._cluster is None else self._cluster
        try:
            return Client(target, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise EngineError(
                f"no Dask scheduler answers at {self.config.scheduler_address or 'its own address'}: {error}",
                "start one with 'dask scheduler', or set engine.scheduler_address to one that runs.",
            ) from error

    def _require_single_threads(self) -> None:
        """Raise EngineError unless the workers have one thread each, as recipes state."""
        n_threads = max(self._client.nthreads().values(), default=1)
        if n_threads > 1:
            raise EngineError(
                f"workers of the Dask cluster run {n_threads} threads each; headforge needs one thread per worker.",
                "start them with 'dask worker ADDRESS --nthreads 1 --nworkers NUMBER'.",
            )

    def _local_cluster(self) -> SpecCluster:
        """Return a cluster of one worker per process, on loopback and encrypted against other users of this machine."""
        security = Security.temporary()
        cards = visible_cards(self.config.gpus)
        common = {"protocol": "tls://", "host": LOCAL_HOST, "security": security}
        silent = {"silence_logs": logging.CRITICAL, "dashboard": False}
        workers = {}
        for number in range(self.config.n_processes):
            environment = dict(WORKER_ENVIRONMENT)
            if cards:
                environment[CARDS_VARIABLE] = cards[number] if number < len(cards) else ""
            resources = {GPU: 1} if number < len(cards) else None
            options = {**common, **silent, "nthreads": 1, "memory_limit": None, "env": environment}
            workers[number] = {"cls": Nanny, "options": options | {"resources": resources}}
        scheduler = {"cls": Scheduler, "options": {**common, "dashboard": False, "port": 0}}
        return SpecCluster(workers, scheduler, security=security)

    def _slurm_cluster(self) -> SpecCluster:
        """Return a cluster of one job per worker, replaced when it ends; connections are encrypted with a new key."""
        config = self.config
        if shutil.which("sbatch") is None:
            raise EngineError(
                "engine.profile is slurm, and there is no sbatch on the PATH.",
                "run headforge on a login node of the SLURM cluster, or set engine.profile to local.",
            )
        refusals = self._refusals

        class Job(SLURMJob):
            async def start(self) -> None:
                try:
                    await super().start()
                except (RuntimeError, ValueError, OSError) as error:
                    refusals.append(" ".join(str(error).partition("stderr:")[2].split()) or str(error))
                    self.status = Status.running  # raising would leave the cluster unable to close

        cluster = SLURMCluster(
            job_cls=Job,  # pyright: ignore[reportArgumentType]  # a class is what it takes
            queue=config.slurm_partition or None,
            account=config.slurm_account or None,
            walltime=config.slurm_walltime,
            cores=1,
            processes=1,
            memory=config.slurm_memory,
            interface=config.slurm_interface or None,
            security=_written(Security.temporary(), self._keys),
            log_directory=str(self._folder / "logs"),
            scheduler_options={"dashboard": False, "dashboard_address": None},
            worker_extra_args=["--no-dashboard", *(["--resources", f"{GPU}=1"] if config.gpus else [])],
            job_extra_directives=["--gres=gpu:1"] if config.gpus else [],
            job_script_prologue=[f"export {name}={value}" for name, value in WORKER_ENVIRONMENT.items()],
        )
        cluster.adapt(minimum_jobs=config.workers, maximum_jobs=config.workers)
        return cluster


CLUSTERS: Mapping[str, Callable[[DaskEngine], SpecCluster | None]] = {
    "dask-local": DaskEngine._local_cluster,
    "dask": lambda engine: None,
    "slurm": DaskEngine._slurm_cluster,
}
GPU_HELP = {
    "dask-local": "set engine.gpus to 1 or more.",
    "dask": f"start a worker per GPU: {CARDS_VARIABLE}=0 dask worker ADDRESS --nthreads 1 --resources GPU=1",
    "slurm": "set engine.gpus to engine.workers: each job then asks for a GPU.",
}


def _written(security: Security, folder: Path) -> Security:
    """Write the keys to files that only their owner can read, for SLURM jobs; return a `Security` of these files."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    for path, text in ((key, security.tls_worker_key), (certificate, security.tls_worker_cert)):
        path.touch(0o600)
        path.write_text(text)
    roles = ("worker", "client", "scheduler")
    files = {f"tls_{role}_key": str(key) for role in roles} | {f"tls_{role}_cert": str(certificate) for role in roles}
    return Security(tls_ca_file=str(certificate), require_encryption=True, **files)


@functools.cache
def code_digest() -> str:
    """Return the SHA-256 of the sources of headforge and tasks that this process uses."""
    digest = hashlib.sha256()
    for folder in (Path(headforge.__file__).parent, Path(__file__).parent):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class _EventProgress:
    """Progress reporter that sends events to the driver, through the scheduler."""

    def __init__(self, name: str, topic: str) -> None:
        self._name = name
        self._topic = topic
        self._worker = get_worker()

    def _send(self, method: str, *content: object) -> None:
        self._worker.log_event(self._topic, (self._name, method, content))

    def start(self, n_items: int, unit: str) -> None:
        self._send("start", n_items, unit)

    def item_done(self, item: str, n: int = 1) -> None:
        self._send("item_done", item, n)

    def item_rejected(self, item: str, reason: str) -> None:
        self._send("item_rejected", item, reason)

    def metric(self, name: str, value: float, step: int) -> None:
        self._send("metric", name, float(value), step)

    def image(self, name: str, path: Path) -> None:
        self._send("image", name, str(path))


def _answer(call: bytes, name: str, topic: str, code: str) -> Any:
    """Answer a call with the driver's code version; runs in a worker."""
    if code != code_digest():
        return Raised(
            f"the worker on {platform.node()} runs another version of headforge's code than the driver.",
            "",
            "install the same version for both, and start the workers again.",
        )
    return answer_to(call, _EventProgress(name, topic))
