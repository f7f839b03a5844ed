"""`headforge up [--no-schedule]`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.command import add_command
from flows.project.project import find_root, quiet_environment
from flows.run.summary import Summary

if TYPE_CHECKING:
    from flows.commands.command import Commands


def add_parser(commands: Commands) -> None:
    """Add `up`."""
    parser = add_command(
        commands, "up", "start a Prefect server that stays, and the schedule of prefect.yaml",
        "Start what does not run yet: a Prefect server on this machine's loopback address, and a worker for what\n"
        "prefect.yaml schedules. Runs that follow use that server; 'headforge down' stops both. The server asks for a\n"
        "token: the link that is printed takes it into the browser, once and for ten minutes; 'headforge up' prints\n"
        "another. It answers to 127.0.0.1 and localhost; HEADFORGE_SERVER_HOSTS=NAME:PORT,... adds names, of a\n"
        "tunnel for instance.",
    )  # fmt: skip
    parser.add_argument("--no-schedule", action="store_true", help="the server only; works outside projects too")


def run(wanted: argparse.Namespace) -> Summary:
    """Start, wait, and say where it is."""
    root = None if wanted.no_schedule else find_root(Path.cwd())
    quiet_environment()
    from flows.services.open_link import open_link
    from flows.services.up import next_runs, up  # Prefect comes with it

    state, access, started = up(root)
    print(f"Prefect {'is up' if started else 'was up already'}: {state.page}")
    print(f"its page, by a link that opens it once: {open_link(access)}")
    runs = next_runs(access) if state.worker else {}
    for name, when in runs.items():
        print(f"{name} runs next at {when}")
    return Summary(details={"url": state.page, "api": state.url, "started": started, "next_runs": runs})
