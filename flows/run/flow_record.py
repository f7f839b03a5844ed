"""A body run as a Prefect flow, whose result does not depend on what Prefect records of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from prefect import flow

from flows.services.databases import reason

Result = TypeVar("Result")


def run_as_flow(name: str, body: Callable[[], Result], say: Callable[[str], None], **options: Any) -> Result:
    """Run a body as a flow and return what it returns.

    When the body has ended, whatever goes wrong is the server's: it can't record the end. That is said, no more.
    """
    ended: list[Result] = []

    def whole() -> None:
        ended.append(body())

    try:
        flow(name=name, persist_result=False, validate_parameters=False, **options)(whole)()
    except Exception as error:
        if not ended:
            raise
        say(
            f"the work of '{name}' is complete, but Prefect's server did not record its end: {reason(error)}.\n"
            "help: 'headforge doctor' looks at its database; 'headforge reap' ends the record."
        )
    return ended[0]
