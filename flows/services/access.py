"""What lets a client into a server of headforge: its token, the private file that keeps it, the environment it goes in.

Every server gets a token of its own when it starts. A program that can read the user's files can use the server; a web
page, and another user of the machine, may not.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from headforge.errors import HeadforgeError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

API_VARIABLE = "PREFECT_API_URL"
TOKEN_VARIABLE = "PREFECT_API_AUTH_STRING"
"""What Prefect's clients show."""
SERVER_TOKEN_VARIABLE = "PREFECT_SERVER_API_AUTH_STRING"
"""What Prefect's server asks for."""
KEY_VARIABLE = "PREFECT_API_KEY"
"""For Prefect's cloud; clients would show it in place of the token."""
TOKEN_USER = "headforge"
"""Prefect's tokens have the form USER:PASSWORD."""
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600


class AccessError(HeadforgeError):
    """A server's token can't be read, or others could read it too."""


@dataclass(frozen=True)
class Access:
    """A server and what it asks for."""

    url: str
    """Its API address."""
    token: str = field(default="", repr=False)
    """Empty for a server that asks for none."""

    def client(self) -> SyncPrefectClient:
        """Return a client with the server's token."""
        from prefect.client.orchestration import SyncPrefectClient  # environment first, see flows/run/runner.py

        return SyncPrefectClient(self.url, auth_string=self.token or None)

    def environment(self, before: Mapping[str, str]) -> dict[str, str]:
        """Return the environment `before`, changed so that Prefect's clients use this server and no other key."""
        kept = {name: value for name, value in before.items() if name not in (API_VARIABLE, TOKEN_VARIABLE)}
        if self.token:
            kept.pop(KEY_VARIABLE, None)
            kept[TOKEN_VARIABLE] = self.token
        return kept | {API_VARIABLE: self.url}

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Use this server in this process and those it starts, for the duration of the block."""
        names = (API_VARIABLE, TOKEN_VARIABLE, KEY_VARIABLE)
        before = {name: os.environ.get(name) for name in names}
        wanted = self.environment(os.environ)
        _set({name: wanted.get(name) for name in names})
        try:
            yield
        finally:
            _set(before)


def new_token() -> str:
    """Return a random token of characters that need no escaping."""
    return f"{TOKEN_USER}:{secrets.token_urlsafe(32)}"


def make_private(folder: Path) -> None:
    """Make a folder that only its user may enter, or close one that is there."""
    try:
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) & ~PRIVATE_FOLDER:
            folder.chmod(PRIVATE_FOLDER)
    except OSError as error:
        raise AccessError(
            f"{folder}, which keeps Prefect's database and tokens, can't be closed to other users: {error.strerror}.",
            "make it yours (chown), or set HEADFORGE_HOME to a folder that is.",
        ) from error


def write_token(path: Path, token: str) -> None:
    """Write a token whole or not at all, readable by its user only from the first byte."""
    make_private(path.parent)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp's mode is 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(token)
    Path(temporary).replace(path)


def read_token(path: Path) -> str:
    """Read the token in a file; raises AccessError if there is none, or if others could read or write it."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), encoding="ascii") as file:
            found = os.fstat(file.fileno())
            token = file.read()
    except (OSError, ValueError) as error:
        raise AccessError(
            f"the token of the Prefect server that is up can't be read from {path}: {error}.",
            "stop that server with 'headforge down --now' and start it again with 'headforge up'.",
        ) from error
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & ~PRIVATE_FILE or not token:
        raise AccessError(
            f"the token in {path} is no secret: its owner is {found.st_uid}, its mode {stat.S_IMODE(found.st_mode):o}, "
            f"its size {len(token)}.",
            "stop the server with 'headforge down --now'; 'headforge up' starts it again with a new token.",
        )
    return token


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
