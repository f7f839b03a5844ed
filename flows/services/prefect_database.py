"""The database that the machine's Prefect server starts with. `python -m` migrates one, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from flows.services.databases import PREFECT, RecorderError, prepare, to_stderr

URL_VARIABLE = "PREFECT_API_DATABASE_CONNECTION_URL"
TIMEOUT_S = 120.0


def prepared_database(path: Path) -> Path:
    """Prepare this machine's database, or a temporary one if it can't be used. Call it under its lock."""
    try:
        if prepare(path, PREFECT, _migrate, to_stderr):
            # Prefect notes there by address which databases have its types of blocks; this is another one there.
            (Path(os.environ.get("PREFECT_HOME", path.parent)) / "memo_store.toml").unlink(missing_ok=True)
    except RecorderError as error:
        to_stderr(f"{error.message} The run goes on, and Prefect forgets it at its end.\nhelp: {error.help}")
        return Path(tempfile.mkdtemp(prefix="headforge-prefect-")) / path.name
    return path


def database_url(path: Path) -> str:
    """Return the URL of a database; the path may have any character."""
    return f"sqlite+aiosqlite:///file:{quote(str(path))}?uri=true"


def _migrate(path: Path) -> None:
    """Importing Prefect's server takes seconds and needs its settings: not in this process."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.services.prefect_database"],
        env=os.environ | {URL_VARIABLE: database_url(path)}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="replace", timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    if done.returncode:
        raise OSError((done.stderr.strip().splitlines() or ["Prefect did not say why"])[-1])


async def _create() -> None:
    from prefect.server.database import provide_database_interface  # the driver imports this module and not Prefect

    await provide_database_interface().create_db()


if __name__ == "__main__":
    asyncio.run(_create())
