"""What Prefect's server does not take changes nothing of the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from flows.run import flow_record
from flows.run.flow_record import run_as_flow


def failing(before: BaseException | None, after: BaseException | None) -> Callable[..., Any]:
    """A Prefect whose server fails before or after the body."""

    def flow(**_: object) -> Callable[[Callable[[], None]], Callable[[], None]]:
        def decorate(body: Callable[[], None]) -> Callable[[], None]:
            def run() -> None:
                if before is not None:
                    raise before
                body()
                if after is not None:
                    raise after

            return run

        return decorate

    return flow


def test_a_server_that_fails_after_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(flow_record, "flow", failing(None, httpx.ConnectError("Connection refused")))
    assert run_as_flow("track", lambda: 7, said.append) == 7
    (text,) = said
    assert "Connection refused" in text
    assert "\nhelp: " in text


@pytest.mark.parametrize("error", [httpx.ConnectError("Connection refused"), KeyboardInterrupt()])
def test_a_server_that_fails_before_the_work(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    monkeypatch.setattr(flow_record, "flow", failing(error, None))
    with pytest.raises(type(error)):
        run_as_flow("track", lambda: 7, print)


def test_what_the_work_raises_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("the work")

    monkeypatch.setattr(flow_record, "flow", failing(None, None))
    with pytest.raises(ValueError, match="the work"):
        run_as_flow("track", fail, print)


def test_an_interruption_after_the_work_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_record, "flow", failing(None, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run_as_flow("track", lambda: 7, print)
