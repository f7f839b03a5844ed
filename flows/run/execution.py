"""One stage as a Prefect flow, with its record in MLflow."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from prefect import tags
from prefect.runtime import flow_run
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from flows.project.params import Settings, load_settings
from flows.project.project import home, store_root
from flows.project.receipts import receipts_folder, write_receipt
from flows.project.sections import stage_settings
from flows.run.failures import clear_failures, record_failures
from flows.run.flow_record import run_as_flow
from flows.run.outcome import EXIT_DONE, EXIT_ITEMS, Outcome, Rejection
from flows.run.progress.reporting import StageProgress
from flows.run.stage_record import StageRecord
from flows.run.stage_run import ItemsFailedError, StageRun
from flows.services.processes import process_name
from flows.services.reap import DRIVER_VARIABLE, process_tag
from flows.stages import DVC_CACHE, stage_named
from headforge.errors import HeadforgeError
from headforge.store.files import write_bytes
from headforge.store.objects.store import Store
from tasks.building import Workshop, build_items
from tasks.engines.engine import Engine
from tasks.engines.profiles import make_engine
from tasks.items import Failure


def execute(name: str, body: Callable[[StageRun], None], root: Path) -> Outcome:
    """Run the body of a stage as a flow and say how it ended."""
    settings = load_settings(root)
    engine_config = settings["engine"]
    store = Store(store_root())
    os.environ[DRIVER_VARIABLE] = process_name()
    with (
        StageProgress(name) as progress,
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
        tags(process_tag()),
        make_engine(engine_config, home() / "cluster", progress.say) as engine,
        StageRecord(name, root, _stage_params(name, settings), progress.say) as record,
    ):
        end_workers_on_signals(engine)
        copies = (root / DVC_CACHE, root / stage_named(name).output)
        workshop = Workshop(store, engine, engine_config.retries, progress, copies)
        run = StageRun(root, settings, store, partial(build_items, workshop), progress)
        runner = ThreadPoolTaskRunner(max_workers=engine.n_slots)
        outcome = _run_flow(name, body, run, runner, record)
        record.finish(run, outcome)
    return dataclasses.replace(outcome, run_id=record.run_id)


def end_workers_on_signals(engine: Engine) -> None:
    """Let Ctrl-C and a request to end stop the workers too: threads that wait for one could not be interrupted."""

    def stop(number: int, frame: FrameType | None) -> None:
        engine.abort()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def _run_flow(name: str, body: Callable[[StageRun], None], run: StageRun, runner: Any, record: StageRecord) -> Outcome:
    def stage_flow() -> Exception | None:
        record.tag("prefect.flow_run_id", str(flow_run.id))
        try:
            body(run)
        except (HeadforgeError, ItemsFailedError) as error:
            return error
        write_receipt(run.root, name, [thing.key for thing in run.objects])
        clear_failures(run.root, name)
        return None

    error = run_as_flow(name, stage_flow, run.progress.say, task_runner=runner)
    n_hits = sum(thing.hit for thing in run.objects)
    if isinstance(error, HeadforgeError):
        raise error
    if isinstance(error, ItemsFailedError):
        settings = stage_settings(name, run.settings.sections, run.settings.methods)
        record_failures(run.root, name, settings, error.failures)
        return Outcome(EXIT_ITEMS, *_explained(run, name, error.failures))
    return Outcome(EXIT_DONE, "", tuple(run.rejected), len(run.objects), n_hits)


def _explained(run: StageRun, name: str, failures: Sequence[Failure]) -> tuple[str, tuple[Rejection, ...]]:
    failed = tuple(Rejection(item.label, item.reason, item.help) for item in failures)
    count = f"{len(failed)} item{'s' * (len(failed) != 1)}"
    lines = [f"{name}: {count} failed; the others are finished and kept."] + [f"  {item}" for item in failed]
    details = [f"{item.label}\n{item.details}" for item in failures if item.details]
    if details:
        log = receipts_folder(run.root) / f"{name}-failures.log"
        write_bytes(log, "\n".join(details).encode())
        lines.append(f"  details: {log}")
    retry = f"once its cause is gone, 'headforge retry --failed {name}' redoes only what failed."
    return "\n".join([*lines, f"  {retry}", f"help: {failed[0].help}"]), failed


def _stage_params(name: str, settings: Settings) -> Mapping[str, object]:
    engine = {f"engine.{key}": value for key, value in dataclasses.asdict(settings["engine"]).items()}
    return stage_settings(name, settings.sections, settings.methods) | engine
