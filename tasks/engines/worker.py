"""Calls to worker processes and their answers. Does not import Prefect: workers don't need it."""

from __future__ import annotations

import pickle
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headforge.errors import HeadforgeError
from headforge.progress import Progress
from tasks.engines.engine import CrashedError


@dataclass(frozen=True)
class Raised:
    """Answer of a worker in place of an exception, which may not be picklable."""

    reason: str
    details: str
    help: str | None
    """None if the error was not deliberate."""


def packed(function: Callable[..., Any], args: tuple[object, ...]) -> bytes:
    """Pickle a call; the function goes by name, so that the worker runs its own copy."""
    return pickle.dumps((function, args))


def answer_to(call: bytes, progress: Progress) -> Any:
    """Run a call from `packed`, with one thread; return its result, or Raised."""
    try:
        function, args = pickle.loads(call)
        if (torch := sys.modules.get("torch")) is not None:  # not all functions need it, and its import takes seconds
            torch.set_num_threads(1)
        return function(*args, progress)
    except HeadforgeError as error:
        return Raised(error.message, "", error.help)
    except Exception as error:
        return Raised(f"{type(error).__name__}: {error}", traceback.format_exc(), None)


def opened(answer: Any) -> Any:
    """Return a worker's answer, or raise the exception that it describes."""
    if not isinstance(answer, Raised):
        return answer
    if answer.help is None:
        raise CrashedError(answer.reason, answer.details)
    raise HeadforgeError(answer.reason, answer.help)
