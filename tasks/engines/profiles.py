"""Choice of the engine by the settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from headforge.errors import MissingExtraError
from tasks.engines.engine import Engine, EngineConfig
from tasks.engines.process_engine import ProcessEngine


def make_engine(config: EngineConfig, folder: Path, say: Callable[[str], None]) -> Engine:
    """Return a new engine, not yet started.

    `folder` is for files that a cluster's workers read when they start; `say` prints notices while waiting for them.
    Raises MissingExtraError if the profile needs Dask and it is not installed.
    """
    if config.profile == "local":
        return ProcessEngine(config.n_processes, config.gpus)
    try:
        from tasks.engines.dask_engine import DaskEngine  # only the extra `cluster` has Dask
    except ImportError as error:
        package = (error.name or "dask").partition(".")[0].replace("_", "-")
        raise MissingExtraError(package, "cluster", f"the engine's profile {config.profile}") from error
    return DaskEngine(config, folder, say)
