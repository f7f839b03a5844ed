"""What a web page, or another program without the token, could try on a server of headforge on loopback.

An attacker here knows more than a page could: the port, and the ids of a flow and a deployment. A way of sending is
tried with every payload; a way that the guard must refuse by itself is tried with the right token too.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from prefect import flow
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from flows.services.access import Access

EVIL = "evil.example"
TIMEOUT_S = 10.0
JSON = "application/json"
ANSWER = b"HTTP/1.1 "
SOCKETS = (
    "/api/events/in",
    "/api/events/out",
    "/api/logs/out",
    "/api/task_runs/subscriptions/scheduled",
    "/api/work_pools/headforge/workers/connect",
)


@dataclass(frozen=True)
class Way:
    """A way of sending a request. `PORT` in it is the server's, `TOKEN` the right credentials."""

    name: str
    host: tuple[str, ...] = ("127.0.0.1:PORT",)
    headers: tuple[str, ...] = ()
    kind: tuple[str, ...] = (JSON,)
    """Content types of a body."""
    path: str = "PATH"
    """`PATH` in it is the payload's, `REST` that without /api."""
    with_token: bool = True
    """Whether it is refused to who has the token, too."""
    bodies_only: bool = False
    chunked: bool = False
    version: str = "1.1"


@dataclass(frozen=True)
class Payload:
    """What the attacker is after."""

    name: str
    path: str
    body: object = None
    """Sent by POST; None for a GET."""


@dataclass(frozen=True)
class SocketWay:
    """A way of opening a websocket and saying who one is."""

    name: str
    host: str = "127.0.0.1:PORT"
    origin: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    token: str | None = "TOKEN"
    protocol: str | None = "prefect"
    message: object = field(default_factory=lambda: {"type": "auth"})
    """What is sent first, with the token."""


def _own(name: str, *headers: str, with_token: bool = True) -> Way:
    return Way(name, headers=headers, with_token=with_token)


WAYS = (
    Way("rebinding", (f"{EVIL}:PORT",), (f"Origin: http://{EVIL}:PORT", "Sec-Fetch-Site: same-origin")),
    Way("rebinding, without Origin", (f"{EVIL}:PORT",)),
    Way("rebinding, forwarded as ours", (f"{EVIL}:PORT",), ("X-Forwarded-Host: 127.0.0.1:PORT",)),
    Way("rebinding, Forwarded", (f"{EVIL}:PORT",), ("Forwarded: host=127.0.0.1:PORT;proto=http",)),
    Way("host that begins as ours", (f"127.0.0.1.{EVIL}:PORT",)),
    Way("host that begins as ours, after the port", (f"127.0.0.1:PORT.{EVIL}",)),
    Way("host with a user", (f"127.0.0.1:PORT@{EVIL}",)),
    Way("host without port", ("127.0.0.1",)),
    Way("host of another port", ("127.0.0.1:1",)),
    Way("every address", ("0.0.0.0:PORT",)),
    Way("two hosts, ours first", ("127.0.0.1:PORT", EVIL)),
    Way("two hosts, ours last", (EVIL, "127.0.0.1:PORT")),
    Way("two hosts in one", (f"127.0.0.1:PORT, {EVIL}",)),
    Way("empty host", ("",)),
    Way("no host", (), version="1.0"),
    Way("target in absolute form", path=f"http://{EVIL}PATH"),
    Way("target in absolute form, ours, host theirs", (EVIL,), path="http://127.0.0.1:PORTPATH"),
    _own("foreign origin", f"Origin: http://{EVIL}"),
    _own("origin of a sandboxed frame", "Origin: null"),
    _own("origin of another port", "Origin: http://127.0.0.1:1"),
    _own("origin of another scheme", "Origin: https://127.0.0.1:PORT"),
    _own("origin that begins as ours", f"Origin: http://127.0.0.1:PORT.{EVIL}"),
    _own("origin that ends as ours", f"Origin: http://{EVIL}#http://127.0.0.1:PORT"),
    _own("two origins", "Origin: http://127.0.0.1:PORT", f"Origin: http://{EVIL}"),
    _own("empty origin", "Origin: "),
    _own("cross-site fetch without Origin", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"),
    _own("cross-site navigation", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"),
    _own("page of another port of this machine", "Sec-Fetch-Site: same-site"),
    Way("text/plain", kind=("text/plain",), bodies_only=True),
    Way("no content type", kind=(), bodies_only=True),
    Way("form", kind=("application/x-www-form-urlencoded",), bodies_only=True),
    Way("form with files", kind=("multipart/form-data; boundary=x",), bodies_only=True),
    Way("text with JSON in its parameters", kind=(f"text/plain; {JSON}",), bodies_only=True),
    Way("two content types", kind=("text/plain", JSON), bodies_only=True),
    Way("two content types in one", kind=(f"{JSON}, text/plain",), bodies_only=True),
    Way("a type that begins as JSON's", kind=(f"{JSON}x",), bodies_only=True),
    Way("in pieces, no content type", kind=(), bodies_only=True, chunked=True),
    Way("two lengths of a body", headers=("Transfer-Encoding: chunked",), bodies_only=True),
    _own("no token", with_token=False),
    _own("no token, own origin", "Origin: http://127.0.0.1:PORT", "Sec-Fetch-Site: same-origin", with_token=False),
    _own("wrong token", f"Authorization: Basic {base64.b64encode(b'headforge:x').decode()}", with_token=False),
    _own("empty token", "Authorization: Basic ", with_token=False),
    _own("no base64", "Authorization: Basic ???", with_token=False),
    _own("key of Prefect's cloud", "Authorization: Bearer pnu_x", with_token=False),
    _own("two tokens", "Authorization: Basic eDp4", "Authorization: Basic eTp5", with_token=False),
    _own("claimed to come from here", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", with_token=False),
    _own("another method in a header", "X-HTTP-Method-Override: GET", with_token=False),
    Way("path //", path="/PATH"),
    Way("path // inside", path="/api//REST"),
    Way("path ..;", path="/api/..;PATH"),
    Way("path ..", path="/headforge/open/../..PATH"),
    Way("path .. in percents", path="/headforge/%2e%2ePATH"),
    Way("path .", path="/api/.REST"),
    Way("path with a slash in percents", path="/api%2fREST"),
    Way("path with a backslash", path="/headforge\\..PATH"),
    Way("path with a backslash in percents", path="/api%5cREST"),
    Way("path with a line's end", path="/api%0aREST"),
    Way("path with a parameter", path="/api;xREST", with_token=False),
    Way("path of a probe before it", path="/api/health/..PATH"),
    Way("path of a probe after it", path="PATH?/api/health", with_token=False),
)

SOCKET_WAYS = (
    SocketWay("rebinding", host=f"{EVIL}:PORT", origin=f"http://{EVIL}:PORT"),
    SocketWay("rebinding, without Origin", host=f"{EVIL}:PORT"),
    SocketWay("foreign origin", origin=f"http://{EVIL}"),
    SocketWay("origin of a sandboxed frame", origin="null"),
    SocketWay("origin of another port", origin="http://127.0.0.1:1"),
    SocketWay("cross-site", headers=(("Sec-Fetch-Site", "cross-site"),)),
    SocketWay("foreign origin, forwarded as ours", origin=f"http://{EVIL}", headers=(("X-Forwarded-Host", EVIL),)),
    SocketWay("no token", token=None),
    SocketWay("no token, own origin", origin="http://127.0.0.1:PORT", token=None),
    SocketWay("empty token", token=""),
    SocketWay("wrong token", token="headforge:x"),
    SocketWay("no protocol, no token", token=None, protocol=None, message=None),
    SocketWay("filter in place of the token", token=None, message={"type": "filter", "filter": {}}),
)


@flow(name="harmless")
def harmless() -> None:
    """What the attacker's deployment pretends to be of."""


def payloads(access: Access, canary: Path) -> tuple[Payload, ...]:
    """What to send to this server; that a `canary` appears means that an attacker's command was run."""
    with access.client() as client:
        flow_id = client.create_flow(harmless)
        known = client.create_deployment(flow_id, "harmless", work_pool_name=None, entrypoint="x.py:x")
    run = {"prefect.deployments.steps.run_shell_script": {"script": f"touch {canary}"}}
    schedule = {"active": True, "schedule": {"interval": 5}}
    evil = {
        "name": "evil", "flow_id": str(flow_id), "entrypoint": "x.py:x", "pull_steps": [run], "schedules": [schedule]
    }  # fmt: skip
    with_pool = evil | {"name": "evil, with a worker", "work_pool_name": "headforge"}
    return (
        Payload("read", f"/api/deployments/{known}"),
        Payload("list", "/api/deployments/filter", {}),
        Payload("flow", "/api/flows/", {"name": "evil"}),
        Payload("deployment", "/api/deployments/", evil),
        Payload("deployment for the worker", "/api/deployments/", with_pool),
        Payload("run", f"/api/deployments/{known}/create_flow_run", {"state": {"type": "SCHEDULED"}}),
        Payload("pool", "/api/work_pools/", {"name": "evil", "type": "process"}),
    )


def what_is_there(access: Access) -> dict[str, list[str]]:
    """Names of what an attacker could have made on the server.

    Without the runs that the scheduler itself makes of deployments that are there: those come when it gets to them.
    """
    with access.client() as client:
        return {
            "deployments": sorted(found.name for found in client.read_deployments()),
            "flows": sorted(found.name for found in client.read_flows()),
            "runs": sorted(found.name for found in client.read_flow_runs() if not found.auto_scheduled),
            "pools": sorted(found.name for found in client.read_work_pools()),
        }


def requests(access: Access, way: Way, wanted: Sequence[Payload]) -> Iterator[bytes]:
    """What goes over the wire: every payload this way, without the token and then with it."""
    port = str(urlsplit(access.url).port)
    shown = base64.b64encode(access.token.encode()).decode()
    for payload in wanted:
        if payload.body is None and way.bodies_only:
            continue
        for token in (False, True) if way.with_token else (False,):
            body = b"" if payload.body is None else json.dumps(payload.body).encode()
            target = way.path.replace("PATH", payload.path).replace("REST", payload.path.removeprefix("/api"))
            lines = [f"{'GET' if payload.body is None else 'POST'} {target} HTTP/{way.version}"]
            lines += [f"Host: {host}" for host in way.host] + list(way.headers)
            lines += [f"Authorization: Basic {shown}"] if token else []
            if payload.body is not None:
                lines += [f"Content-Type: {kind}" for kind in way.kind]
                lines.append("Transfer-Encoding: chunked" if way.chunked else f"Content-Length: {len(body)}")
            lines.append("Connection: close")
            if way.chunked:
                body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            yield "\r\n".join([*lines, "", ""]).replace("PORT", port).encode() + body


def status(access: Access, request: bytes) -> int:
    """What a server answers; 0 if it says nothing."""
    place = urlsplit(access.url)
    answer = b""
    with socket.create_connection((place.hostname, place.port), TIMEOUT_S) as connection:
        with contextlib.suppress(ConnectionError, TimeoutError):
            connection.sendall(request)
            while len(answer) < len(ANSWER) + 3 and (found := connection.recv(4096)):
                answer += found
    return int(answer.removeprefix(ANSWER)[:3]) if answer.startswith(ANSWER) else 0


def is_refusal(code: int) -> bool:
    """Whether an answer says no, in so many words."""
    return 400 <= code < 500


def heard(access: Access, path: str, way: SocketWay) -> str:
    """The first message of a websocket after who one is was said; empty if the server hangs up."""
    place = urlsplit(access.url)
    message: object = way.message
    if isinstance(message, dict) and message.get("type") == "auth":
        message = {**message, "token": access.token if way.token == "TOKEN" else way.token}
    connection = socket.create_connection((place.hostname, place.port), TIMEOUT_S)
    try:
        with connect(
            f"ws://{way.host.replace('PORT', str(place.port))}{path}",
            sock=connection,
            origin=None if way.origin is None else Origin(way.origin.replace("PORT", str(place.port))),
            subprotocols=[Subprotocol(way.protocol)] if way.protocol else None,
            additional_headers=list(way.headers),
            open_timeout=TIMEOUT_S,
            close_timeout=1.0,
            proxy=None,
        ) as opened:
            if message is not None:
                opened.send(json.dumps(message))
            return str(opened.recv(timeout=TIMEOUT_S))
    except (WebSocketException, OSError, EOFError):
        return ""
    finally:
        connection.close()
