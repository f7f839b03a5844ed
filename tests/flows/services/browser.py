"""A headless browser, where the machine has one, led by its own debugging protocol."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import connect
from websockets.sync.connection import Connection

BROWSER_VARIABLE = "HEADFORGE_TEST_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "chrome-headless-shell")
START_S, STEP_S = 30.0, 20.0
EVIL = "evil.example"
"""A name that the browser takes for this machine, as after DNS rebinding."""


def find_browser() -> str | None:
    """The one HEADFORGE_TEST_BROWSER names, else one on the PATH or of Playwright's."""
    named = [os.environ[BROWSER_VARIABLE]] if BROWSER_VARIABLE in os.environ else []
    playwright = Path("~/.cache/ms-playwright").expanduser().glob("chromium*/*/*")
    found = [path for path in playwright if path.name in ("chrome", "headless_shell", "chrome-headless-shell")]
    return next(filter(None, (*map(shutil.which, (*named, *NAMES)), *map(str, found))), None)


class Page:
    """The browser's one page."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._numbers = connection, itertools.count(1)

    def ask(self, method: str, **params: Any) -> Any:
        """What the browser answers to a command of its protocol."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._connection.recv(timeout=STEP_S))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, url: str) -> None:
        """Go there, and return when the page has loaded."""
        self.ask("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page, or what its promise comes to."""
        found = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Return when the expression is true."""
        deadline = time.monotonic() + STEP_S
        while time.monotonic() < deadline:
            with contextlib.suppress(AssertionError):  # the page may be between two documents
                if self.run(script):
                    return
            time.sleep(0.1)
        raise AssertionError(f"{script} stayed false at {self.run('location.href + document.body.innerText')}")


@contextlib.contextmanager
def browser_page(program: str, folder: Path) -> Iterator[Page]:
    """A page of a browser that ends with the block and reaches loopback only."""
    rules = f"MAP {EVIL} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
    quiet = ("--disable-background-networking", "--disable-component-update", "--no-proxy-server")
    process = subprocess.Popen(
        [program, *options, *quiet, f"--host-resolver-rules={rules}", f"--user-data-dir={folder}",
         "--remote-debugging-port=0", "about:blank"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port = _debugging_port(folder / "DevToolsActivePort")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=STEP_S) as answer:
            target = next(target for target in json.loads(answer.read()) if target["type"] == "page")
        with connect(target["webSocketDebuggerUrl"], max_size=None, proxy=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        try:
            process.wait(STEP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _debugging_port(path: Path) -> int:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if path.is_file() and (lines := path.read_text().splitlines()):
            return int(lines[0])
        time.sleep(0.1)
    raise AssertionError("the browser does not answer")
