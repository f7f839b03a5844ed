"""The errors that headforge raises deliberately.

Every message states the problem and what was found; `help` states the remedy. Each class carries its values as fields,
so that callers and tests need not parse text.
"""

from __future__ import annotations

from pathlib import Path


class HeadforgeError(Exception):
    """Base of every deliberate error. `str(error)` is the whole message and ends in a `help:` line."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.message = message
        self.help = help

    def __str__(self) -> str:
        return f"{self.message}\nhelp: {self.help}"


class ConfigError(HeadforgeError):
    """A setting is unknown, of the wrong type or out of range."""

    def __init__(self, key: str, found: object, message: str, help: str) -> None:
        super().__init__(message, help)
        self.key = key
        self.found = found


class InputError(HeadforgeError):
    """A file or folder given by the user can't be used."""

    def __init__(self, path: Path | str, message: str, help: str) -> None:
        super().__init__(message, help)
        self.path = str(path)


class MissingExtraError(HeadforgeError):
    """An optional package is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed.",
            f"pip install 'headforge[{extra}]'",
        )
        self.package = package
        self.extra = extra


class ShapeError(HeadforgeError):
    """A tensor has another shape than the documented one."""

    def __init__(self, name: str, expected: str, found: tuple[int, ...]) -> None:
        super().__init__(
            f"{name} has the shape {tuple(found)}, expected {expected}.",
            f"pass {name} with the shape {expected}.",
        )
        self.name = name
        self.expected = expected
        self.found = tuple(found)


class DeviceError(HeadforgeError):
    """A tensor is on a device that the computation can't use."""

    def __init__(self, name: str, expected: str, found: str, purpose: str) -> None:
        super().__init__(
            f"{name} is on the device {found}; {purpose} needs it on {expected}.",
            f"pass {name}.to('{expected}').",
        )
        self.name = name
        self.expected = expected
        self.found = found


class NotFiniteError(HeadforgeError):
    """A tensor holds NaN or infinity."""

    def __init__(self, name: str, n_bad: int, n_total: int) -> None:
        super().__init__(
            f"{name} holds {n_bad} values that are not finite, of {n_total}.",
            f"check the source of {name}; a learning rate that is too high is the usual cause.",
        )
        self.name = name
        self.n_bad = n_bad
        self.n_total = n_total


class ModelMismatchError(HeadforgeError):
    """Parameters of one head model were given to another."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(
            f"these head parameters belong to the head model '{found}', but were given to '{expected}'.",
            f"track the subject again with '{expected}', or load the head model '{found}'.",
        )
        self.expected = expected
        self.found = found


class StoreError(HeadforgeError):
    """The object store can't be read or written, or an object in it is damaged."""

    def __init__(self, path: Path | str, message: str, help: str) -> None:
        super().__init__(message, help)
        self.path = str(path)


class DataError(HeadforgeError):
    """A dataset, model or avatar on disk does not match its manifest."""

    def __init__(self, path: Path | str, message: str, help: str) -> None:
        super().__init__(message, help)
        self.path = str(path)


class Rejected(HeadforgeError):
    """One item is rejected (no face, a failed gate). Its reason is recorded and the batch continues."""

    def __init__(self, item: str, gate: str, reason: str, help: str, value: float | None = None) -> None:
        super().__init__(f"{item}: {reason}", help)
        self.item = item
        self.gate = gate
        self.reason = reason
        self.value = value
