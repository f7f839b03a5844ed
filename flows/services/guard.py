"""Guard of a server on loopback: it refuses requests that a foreign web page in the user's browser can send.

Any page can send requests to 127.0.0.1, and by DNS rebinding it can make them look like requests to its own server. The
guard therefore checks every request and websocket: the `Host` is this machine, the `Origin` and `Sec-Fetch-Site` are
not those of another page, the path is unambiguous, and a body is JSON, which a page can't send to another origin
without a preflight. Everything but the public pages needs the token.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from flows.services.access import AccessError
from flows.services.open_link import OPEN_PATH, PAGE, PAGE_HEADERS, TICKETS_PATH, Tickets

HOSTS_VARIABLE = "HEADFORGE_SERVER_HOSTS"
"""Further names under which the user reaches the server, say through an SSH tunnel: NAME[:PORT],..."""
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
HTTP_PORT = 80
HOST = re.compile(r"(\[[0-9a-f:]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(:[0-9]{1,5})?")
API = "/api"
PROBES = (f"{API}/health", f"{API}/ready")
"""Health checks, without other content."""
READING = ("GET", "HEAD")
OWN_SITE = ("same-origin", "none")
"""Values of Sec-Fetch-Site: a page of this server, or the user's own doing (address bar, bookmark)."""
MAX_BODY_BYTES = 4096
"""Of a request that the guard answers itself."""
HEADERS = (
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""On every answer: no other page may frame it, load it, or keep a handle on its window."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Rules:
    """What the guard accepts."""

    hosts: frozenset[str]
    """Values of `Host` that name this server."""
    origins: frozenset[str]
    """Values of `Origin` that are pages of this server."""
    token: str = field(repr=False)
    """What a request must show that isn't for a public page."""


@dataclass(frozen=True)
class Refusal:
    """Why a request goes no further."""

    status: int
    """Of the answer."""
    reason: str
    """For who sent it."""


def rules_for(port: int, token: str, named: frozenset[str] = frozenset()) -> Rules:
    """Return the rules of a server at this port of the loopback address, with further host names if any."""
    own = {f"{name}:{port}" for name in LOOPBACK_NAMES} | (set(LOOPBACK_NAMES) if port == HTTP_PORT else set())
    origins = {f"http://{host}" for host in own | named} | {f"https://{host}" for host in named}
    return Rules(frozenset(own | named), frozenset(origins), token)


def named_hosts() -> frozenset[str]:
    """Return the names in HEADFORGE_SERVER_HOSTS; raises AccessError for an invalid one, such as a pattern."""
    names = frozenset(filter(None, (name.strip().lower() for name in os.environ.get(HOSTS_VARIABLE, "").split(","))))
    for name in names:
        if not HOST.fullmatch(name):
            raise AccessError(
                f"{HOSTS_VARIABLE} has '{name}', which is no name of a host.",
                "list names as the browser shows them, separated by commas: localhost:9000,heads.example",
            )
    return names


def refusal(scope: Scope, rules: Rules) -> Refusal | None:
    """Return the reason for refusing a request or websocket, or None."""
    headers: dict[bytes, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.lower(), []).append(value.decode("latin-1").strip())
    return (
        _wrong_host(headers, rules)
        or _wrong_sender(headers, rules)
        or _wrong_path(scope)
        or (_wrong_body(headers) or _wrong_token(scope, headers, rules) if scope["type"] == "http" else None)
    )


def _wrong_host(headers: dict[bytes, list[str]], rules: Rules) -> Refusal | None:
    match headers.get(b"host", []):
        case [host] if host.lower() in rules.hosts:
            return None
        case [host]:
            return Refusal(
                403, f"'{host[:100]}' is no name of this server; {HOSTS_VARIABLE} of 'headforge up' can add one."
            )
        case hosts:
            return Refusal(400, f"a request has one Host header; this one has {len(hosts)}.")


def _wrong_sender(headers: dict[bytes, list[str]], rules: Rules) -> Refusal | None:
    origins, sites = headers.get(b"origin", []), headers.get(b"sec-fetch-site", [])
    if any(origin.lower() not in rules.origins for origin in origins) or len(origins) > 1:
        return Refusal(403, "another page sent this.")
    if not origins and any(site.lower() not in OWN_SITE for site in sites):
        return Refusal(403, "another page sent this; type the address into the address bar instead.")
    return None


def _wrong_path(scope: Scope) -> Refusal | None:
    """Refuse a path that this guard and what stands behind it might read in two ways."""
    path: str = scope["path"]
    raw: bytes = scope.get("raw_path") or path.encode("utf-8", "surrogateescape")
    steps = [step.partition(";")[0] for step in path.split("/")]
    odd = (
        not raw.startswith(b"/")
        or "//" in path
        or "\\" in path
        or not path.isprintable()
        or {".", ".."} & set(steps)
        or b"%2f" in raw.lower()
        or scope.get("root_path")
    )
    return Refusal(400, "the path is not in its plain form.") if odd else None


def _wrong_body(headers: dict[bytes, list[str]]) -> Refusal | None:
    sizes = headers.get(b"content-length", [])
    if b"transfer-encoding" in headers and sizes:
        return Refusal(400, "the body has two lengths.")
    if b"transfer-encoding" not in headers and all(size == "0" for size in sizes):
        return None
    match headers.get(b"content-type", []):
        case [kind] if kind.partition(";")[0].strip().lower() == "application/json":
            return None
    return Refusal(415, "a body must be JSON and say so: Content-Type: application/json.")


def _wrong_token(scope: Scope, headers: dict[bytes, list[str]], rules: Rules) -> Refusal | None:
    if _is_public(scope["method"], scope["path"]) or _shows(headers.get(b"authorization", []), rules.token):
        return None
    return Refusal(401, "this needs the server's token; 'headforge up' prints a link that carries it.")


def _is_public(method: str, path: str) -> bool:
    if method == "OPTIONS" or (method, path) == ("POST", OPEN_PATH):
        return True
    under_api = path == API or path.startswith(f"{API}/")
    return method in READING and (not under_api or path in PROBES)


def _shows(credentials: list[str], token: str) -> bool:
    try:
        ((scheme, encoded),) = (value.split() for value in credentials)
        shown = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        return False
    return scheme.lower() == "basic" and hmac.compare_digest(shown, token.encode())


class Guard:
    """An ASGI application that stands in front of another."""

    def __init__(self, app: App, rules: Rules) -> None:
        self._app, self._rules = app, rules
        self._tickets = Tickets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, answer, or hand on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            raise ValueError(scope["type"])
        refused = refusal(scope, self._rules)
        if scope["type"] == "websocket":
            await (self._app(scope, receive, send) if refused is None else _close(receive, send))
        elif refused is not None:
            await _answer(send, refused.status, {"detail": refused.reason})
        elif scope["path"] == OPEN_PATH:
            await self._open(scope, receive, send)
        elif scope["path"] == TICKETS_PATH:
            await self._issue(scope, send)
        else:
            await self._app(scope, receive, _with_headers(send))

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The page that takes the token into the browser, and the exchange of a ticket for it."""
        if scope["method"] in READING:
            await _send(send, 200, PAGE if scope["method"] == "GET" else b"", PAGE_HEADERS)
        elif scope["method"] == "POST":
            if self._tickets.take(_ticket(await _body(receive))):
                await _answer(send, 200, {"token": self._rules.token})
            else:
                await _answer(send, 410, {"detail": "this link was used or is too old; 'headforge up' prints another."})
        else:
            await _answer(send, 405, {"detail": "GET or POST."})

    async def _issue(self, scope: Scope, send: Send) -> None:
        if scope["method"] == "POST":  # which needs the token, as everything that isn't public
            await _answer(send, 200, {"ticket": self._tickets.issue()})
        else:
            await _answer(send, 405, {"detail": "POST."})


def _ticket(body: bytes) -> str:
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    ticket = found.get("ticket") if isinstance(found, dict) else None
    return ticket if isinstance(ticket, str) else ""


async def _body(receive: Receive) -> bytes:
    """A short body; a long one is cut, which leaves no JSON."""
    body = b""
    while len(body) <= MAX_BODY_BYTES:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body[:MAX_BODY_BYTES]


async def _close(receive: Receive, send: Send) -> None:
    await receive()  # websocket.connect
    await send({"type": "websocket.close", "code": 1008})


async def _answer(send: Send, status: int, value: object) -> None:
    await _send(send, status, json.dumps(value).encode(), ((b"content-type", b"application/json"),))


async def _send(send: Send, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    size = (b"content-length", str(len(body)).encode())
    kept = (b"cache-control", b"no-store")
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *HEADERS, kept, size]})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *HEADERS]
        await send(message)

    return sending
