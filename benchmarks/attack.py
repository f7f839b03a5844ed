"""Attacks on headforge: attempts, refusals and successes.

    python benchmarks/attack.py [--part server] [--json] [--out benchmarks/results/attack.json]

server: `headforge up` in a project and a home of its own, with the worker that runs what is scheduled. Requests and
websockets as a web page in the user's browser could send them, DNS rebinding included, and as another program without
the token could. Their goal is a deployment whose first step runs a command. `n_executed` counts commands that ran,
`n_made` other objects created on the server. As a control the same deployment is then made with the token, and its
command must run, so that a zero means that the guard held.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.project import environment, headforge_command, make_project
from benchmarks.record import arguments, finish, write
from flows.project.project import HOME_VARIABLE
from flows.services.access import Access
from flows.services.server import Running, access_to
from flows.services.up import read_state
from tests.flows.services.attacks import (
    SOCKET_WAYS,
    SOCKETS,
    WAYS,
    Way,
    heard,
    is_refusal,
    payloads,
    requests,
    status,
    what_is_there,
)

SETTINGS = {"synthesize.n_subjects": 1, "engine.workers": 1}
CONTROL_S = 90.0
AFTER_S = 20.0
"""Wait for commands that the attacks may have started: schedules and the worker poll every five seconds."""
POLL_S = 0.5


@contextlib.contextmanager
def server_up(folder: Path) -> Iterator[Access]:
    """Run the server and worker of `headforge up` in a project and a home of its own."""
    root, home = make_project(folder, SETTINGS), folder / "home"
    home.mkdir()
    own = environment(home)
    own["PYTHONPATH"] = str(root)  # the project's own copy of the code is what starts
    os.environ[HOME_VARIABLE] = str(home)
    try:
        subprocess.run(headforge_command("up"), cwd=root, env=own, check=True, stdout=subprocess.DEVNULL)
        yield access_to(Running(read_state().url, stays=True))
    finally:
        subprocess.run(headforge_command("down", "--now"), cwd=root, env=own, check=True, stdout=subprocess.DEVNULL)


def appears(path: Path, seconds: float) -> bool:
    """Return whether a file appears within this time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not path.exists():
        time.sleep(POLL_S)
    return path.exists()


def control(access: Access, canary: Path) -> bool:
    """Return whether the attackers' deployment runs its command when it is made with the token."""
    wanted = next(payload for payload in payloads(access, canary) if payload.name == "deployment for the worker")
    (_, sent) = requests(access, Way("control"), [wanted])
    return status(access, sent) == 201 and appears(canary, CONTROL_S)


def attack_server(folder: Path) -> dict[str, object]:
    """Return the results of the part "server"."""
    with server_up(folder) as access:
        canary = folder / "canary"
        wanted = payloads(access, canary)
        before = what_is_there(access)
        came_through: list[str] = []
        n_requests = n_sockets = 0
        for way in WAYS:
            for sent in requests(access, way, wanted):
                n_requests += 1
                if not is_refusal(code := status(access, sent)):
                    came_through.append(f"{way.name}: {code}")
        for socket_way in SOCKET_WAYS:
            for path in SOCKETS:
                n_sockets += 1
                if heard(access, path, socket_way):
                    came_through.append(f"{socket_way.name}: {path}")
        executed = appears(canary, AFTER_S)
        after = what_is_there(access)
        made = [name for kind, names in after.items() for name in names[len(before[kind]) :]]
        for line in came_through:
            write(f"came through: {line}")
        n_tried = n_requests + n_sockets
        return {
            "n_ways": len(WAYS) + len(SOCKET_WAYS),
            "n_requests": n_requests,
            "n_websockets": n_sockets,
            "n_tried": n_tried,
            "n_refused": n_tried - len(came_through),
            "n_made": len(made),
            "n_executed": int(executed),
            "control_executed": control(access, folder / "control"),
        }


PARTS: Mapping[str, Callable[[Path], dict[str, object]]] = {"server": attack_server}
"""Each gets an empty folder, and returns n_tried, n_refused, n_executed and what else it counts."""


def main() -> int:
    """Run the attacks; exit with 1 if one succeeded or the control did not run."""
    parser = arguments(__doc__)
    parser.add_argument("--part", choices=("all", *PARTS), default="all", help="what to attack")
    options = parser.parse_args()
    found: dict[str, object] = {}
    held = True
    for name, part in PARTS.items():
        if options.part not in ("all", name):
            continue
        with tempfile.TemporaryDirectory(prefix="headforge-attack-") as folder:
            numbers = part(Path(folder))
        write(f"{name}: {json.dumps(numbers)}")
        held &= numbers["n_refused"] == numbers["n_tried"] and numbers["n_executed"] == 0
        held &= numbers.get("control_executed", True) is True
        found |= {f"{name}.{key}": value for key, value in numbers.items()}
    finish(found, options)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
