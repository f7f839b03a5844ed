"""Errors of reading other programs' files."""

from __future__ import annotations

from pathlib import Path

from headforge.errors import InputError


class ForbiddenNameError(InputError):
    """A pickle names a class or function that is not on the list; nothing was called."""

    def __init__(self, path: Path | str, name: str) -> None:
        super().__init__(
            path,
            f"'{path}' refers to '{name}', which files of its kind don't need. Nothing in it was run.",
            "get the file from its publisher again; if it comes from there, it is of another kind or version.",
        )
        self.name = name


class PickleFormatError(InputError):
    """A file is not a pickle, is truncated, or holds inconsistent values; nothing in it was run."""

    def __init__(
        self, path: Path | str, found: str, help: str = "download the file again and compare its size."
    ) -> None:
        super().__init__(path, f"'{path}' can't be read as a pickle: {found}.", help)
        self.found = found
