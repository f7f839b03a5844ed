"""What every worker process does with a call, wherever it runs. No Prefect here: workers don't need it."""

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
    """What a worker sends in place of an exception, which may not survive the way between processes."""

    reason: str
    details: str
    help: str | None
    """None if the error was not deliberate."""


def packed(function: Callable[..., Any], args: tuple[object, ...]) -> bytes:
    """Return a call as bytes; the function by name, so that the worker runs its own copy."""
    return pickle.dumps((function, args))


def answer_to(call: bytes, progress: Progress) -> Any:
    """Do what `packed` packed, with one thread; what it returns, or Raised."""
    try:
        function, args = pickle.loads(call)
        if (torch := sys.modules.get("torch")) is not None:  # not every function needs it, and it takes seconds
            torch.set_num_threads(1)
        return function(*args, progress)
    except HeadforgeError as error:
        return Raised(error.message, "", error.help)
    except Exception as error:
        return Raised(f"{type(error).__name__}: {error}", traceback.format_exc(), None)


def opened(answer: Any) -> Any:
    """Return what a worker answered, or the exception that it stands for."""
    if not isinstance(answer, Raised):
        return answer
    if answer.help is None:
        raise CrashedError(answer.reason, answer.details)
    raise HeadforgeError(answer.reason, answer.help)
