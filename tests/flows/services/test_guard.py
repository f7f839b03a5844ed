"""What a web page could try on a server of headforge: by table, over the wire, in a browser. And ours gets in."""

from __future__ import annotations

import asyncio
import base64
import functools
import http.server
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from flows.services.access import (
    API_VARIABLE,
    KEY_VARIABLE,
    TOKEN_VARIABLE,
    Access,
    AccessError,
    make_private,
    new_token,
    read_token,
    write_token,
)
from flows.services.guard import HEADERS, Guard, Rules, named_hosts, rules_for
from flows.services.open_link import LIFETIME_S, MAX_TICKETS, OPEN_PATH, TICKETS_PATH, Tickets, open_link
from flows.services.server import Running, access_to, prefect_server, token_file
from flows.services.up import down, read_state, up
from tests.flows.services.attacks import (
    EVIL,
    SOCKET_WAYS,
    SOCKETS,
    WAYS,
    Payload,
    SocketWay,
    Way,
    heard,
    is_refusal,
    payloads,
    requests,
    status,
    what_is_there,
)
from tests.flows.services.browser import Page, browser_page, find_browser

PORT = 4200
TOKEN = "headforge:secret"
RULES = rules_for(PORT, TOKEN)
BASIC = f"Basic {base64.b64encode(TOKEN.encode()).decode()}"
HOST = f"127.0.0.1:{PORT}"
PASSED = 299
"""What the toy answers."""
JSON = "application/json"

Headers = dict[str, str]
LOCALHOST = {"Host": HOST, "Origin": f"http://localhost:{PORT}", "Sec-Fetch-Site": "cross-site"}
"""A page at localhost calls 127.0.0.1: another site to the browser, the same server to us."""


async def toy(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": PASSED, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def sent(
    headers: Headers | list[tuple[str, str]], method: str = "GET", path: str = "/", body: bytes = b"",
    guard: Guard | None = None, kind: str = "http", raw: str | None = None, rules: Rules = RULES,
) -> list[dict[str, Any]]:  # fmt: skip
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    answers: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        answers.append(dict(message))

    scope = {
        "type": kind, "method": method, "path": path, "raw_path": (raw or path).encode(), "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in pairs],
    }  # fmt: skip
    asyncio.run((guard or Guard(toy, rules))(scope, receive, send))
    return answers


def code(*args: Any, **options: Any) -> int:
    return sent(*args, **options)[0]["status"]


@pytest.mark.parametrize(
    ("headers", "method", "path", "expected"),
    [
        ({"Host": HOST}, "GET", "/", PASSED),
        ({"Host": HOST}, "GET", "/v2/dashboard", PASSED),
        ({"Host": f"LOCALHOST:{PORT}"}, "GET", "/", PASSED),
        ({"Host": f"[::1]:{PORT}"}, "GET", "/", PASSED),
        ({"Host": HOST, "Sec-Fetch-Site": "none"}, "GET", "/", PASSED),
        ({"Host": HOST, "Sec-Fetch-Site": "same-origin"}, "GET", "/", PASSED),
        ({"Host": HOST}, "GET", "/api/health", PASSED),
        ({"Host": HOST}, "POST", "/api/health", 401),
        ({"Host": HOST}, "GET", "/api/healthy", 401),
        ({"Host": HOST}, "GET", "/api/variables/name/health", 401),
        ({"Host": HOST}, "GET", "/api", 401),
        ({"Host": HOST}, "GET", "/api/flows/1", 401),
        ({"Host": HOST}, "POST", "/anything", 401),
        ({"Host": HOST}, "PURGE", "/", 401),
        ({"Host": HOST, "Authorization": BASIC}, "GET", "/api/flows/1", PASSED),
        ({"Host": HOST, "Authorization": BASIC.replace("Basic", "basic")}, "GET", "/api/flows/1", PASSED),
        ({"Host": HOST, "Authorization": BASIC.replace("Basic", "Bearer")}, "GET", "/api/flows/1", 401),
        ({"Host": HOST, "Authorization": f"{BASIC} x"}, "GET", "/api/flows/1", 401),
        ({"Host": HOST, "Authorization": BASIC[:-4]}, "GET", "/api/flows/1", 401),
        ({"Host": HOST, "Authorization": BASIC}, "POST", "/api/x/pause_deployment", PASSED),
        ({"Host": HOST, "Authorization": BASIC, "Content-Length": "0"}, "POST", "/api/x/pause_deployment", PASSED),
        ({"Host": HOST, "Authorization": BASIC, "Content-Length": "2"}, "POST", "/api/flows/", 415),
        ({"Host": HOST, "Authorization": BASIC, "Transfer-Encoding": "chunked"}, "POST", "/api/flows/", 415),
        ({"Host": HOST, "Content-Length": "2", "Content-Type": "text/plain"}, "GET", "/", 415),
        ({"Host": HOST, "Content-Length": "2", "Transfer-Encoding": "chunked", "Content-Type": JSON}, "GET", "/", 400),
        (LOCALHOST, "OPTIONS", "/api/x", PASSED),
        (LOCALHOST, "GET", "/api/x", 401),
        ({"Host": HOST, "Origin": f"http://{EVIL}"}, "OPTIONS", "/api/x", 403),
        ({"Host": HOST, "Origin": "null"}, "GET", "/", 403),
        ({"Host": EVIL}, "GET", "/", 403),
        ({"Host": EVIL}, "GET", "/api/health", 403),
        ({"Host": "127.0.0.1"}, "GET", "/", 403),
        ({}, "GET", "/", 400),
    ],
)  # fmt: skip
def test_guard_lets_in(headers: Headers, method: str, path: str, expected: int) -> None:
    assert code(headers, method, path) == expected


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [(kind, PASSED) for kind in (JSON, f"{JSON}; charset=utf-8", f"{JSON};charset=utf-8", "Application/JSON")]
    + [(kind, 415) for kind in ("", "text/plain", f"{JSON}x", f"x{JSON}", "application/json-patch+json", "*/*")],
)  # fmt: skip
def test_bodies_are_json(content_type: str, expected: int) -> None:
    headers = {"Host": HOST, "Authorization": BASIC, "Content-Length": "2", "Content-Type": content_type}
    assert code(headers, "POST", "/api/flows/") == expected


@pytest.mark.parametrize(
    "name", ["Host", "Origin", "Authorization", "Content-Type", "Sec-Fetch-Site"],
)  # fmt: skip
def test_header_that_is_there_twice_counts_as_the_worse_one(name: str) -> None:
    right = {
        "Host": HOST, "Origin": f"http://{HOST}", "Authorization": BASIC, "Content-Type": JSON, "Content-Length": "2"
    }  # fmt: skip
    assert code(right, "POST", "/api/flows/") == PASSED
    if name == "Sec-Fetch-Site":
        del right["Origin"]
    for pair in (("x", right.get(name, "none")), (right.get(name, "none"), "x")):
        rest = [(key, value) for key, value in right.items() if key != name]
        assert is_refusal(code([*rest, *((name, value) for value in pair)], "POST", "/api/flows/"))


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("//api/flows", None), ("/a//b", None), ("/api/../x", None), ("/api/..;/x", None), ("/api/..;a=b/x", None),
        ("/./x", None), ("/a\\b", None), ("/a/b", "/a%2Fb"), ("/a\nb", "/a%0ab"), ("/a\x00", "/a%00"),
        ("http://x/api", None), ("/x", "http://evil.example/x"), ("*", None), ("", None), ("/api/..", "/api/%2e%2e"),
    ],
)  # fmt: skip
def test_path_with_two_readings_is_refused(path: str, raw: str | None) -> None:
    assert code({"Host": HOST, "Authorization": BASIC}, path=path, raw=raw) == 400
    assert sent({"Host": HOST}, path=path, raw=raw, kind="websocket")[0]["type"] == "websocket.close"


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"Host": HOST}, True),
        ({"Host": HOST, "Origin": f"http://{HOST}"}, True),
        ({"Host": HOST, "Origin": f"http://{EVIL}"}, False),
        ({"Host": HOST, "Origin": "null"}, False),
        ({"Host": f"{EVIL}:{PORT}", "Origin": f"http://{EVIL}:{PORT}"}, False),
        ({"Host": HOST, "Sec-Fetch-Site": "cross-site"}, False),
        ({"Host": HOST, "Sec-Fetch-Site": "same-site"}, False),
    ],
)
def test_websocket(headers: Headers, passes: bool) -> None:
    expected = "websocket.accept" if passes else "websocket.close"
    assert sent(headers, path="/api/events/out", kind="websocket")[0]["type"] == expected


def test_answers_can_not_be_framed_or_kept() -> None:
    for path in ("/", "/api/flows/", OPEN_PATH):
        assert set(HEADERS) <= set(sent({"Host": HOST}, path=path)[0]["headers"])


def test_start_and_end_of_the_server_pass_and_unknown_protocols_do_not() -> None:
    assert sent({}, kind="lifespan") == []
    with pytest.raises(ValueError, match="webtransport"):
        sent({"Host": HOST}, kind="webtransport")


def test_names_that_the_user_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADFORGE_SERVER_HOSTS", "localhost:9000, Heads.example ,")
    rules = rules_for(PORT, TOKEN, named_hosts())
    for host, origin in (("localhost:9000", "http://localhost:9000"), ("heads.example", "https://heads.example")):
        assert code({"Host": host, "Origin": origin}, rules=rules) == PASSED
    assert code({"Host": "localhost:9001"}, rules=rules) == 403
    for wrong in ("*", "*.example", "http://x", "a b", "x:", ".x"):
        monkeypatch.setenv("HEADFORGE_SERVER_HOSTS", wrong)
        with pytest.raises(AccessError, match="no name of a host"):
            named_hosts()


def test_ticket_is_good_once_and_for_a_while() -> None:
    now = [0.0]
    tickets = Tickets(lambda: now[0])
    first = tickets.issue()
    assert not tickets.take(first + "x") and not tickets.take("")
    assert tickets.take(first)
    assert not tickets.take(first)
    late = tickets.issue()
    now[0] = LIFETIME_S
    assert not tickets.take(late)
    many = [tickets.issue() for _ in range(MAX_TICKETS + 1)]
    assert [tickets.take(ticket) for ticket in many] == [False] + [True] * MAX_TICKETS


def test_page_that_takes_the_token_into_the_browser() -> None:
    guard, own = Guard(toy, RULES), {"Host": HOST, "Origin": f"http://{HOST}", "Content-Type": JSON}
    page = sent({"Host": HOST}, path=OPEN_PATH, guard=guard)
    assert page[0]["status"] == 200 and TOKEN.encode() not in page[1]["body"]
    assert code({"Host": HOST}, "POST", TICKETS_PATH, guard=guard) == 401
    answer = sent({"Host": HOST, "Authorization": BASIC}, "POST", TICKETS_PATH, guard=guard)
    ticket = json.loads(answer[1]["body"])["ticket"]
    for wrong in (b"", b"[]", b"{}", b'{"ticket": 1}', b'{"ticket": "x"}', b"x" * 10_000, b"\xff"):
        assert code(own, "POST", OPEN_PATH, wrong, guard) == 410
    body = json.dumps({"ticket": ticket}).encode()
    assert code(own | {"Origin": f"http://{EVIL}"}, "POST", OPEN_PATH, body, guard) == 403
    assert code(own | {"Content-Type": "text/plain", "Content-Length": "9"}, "POST", OPEN_PATH, body, guard) == 415
    taken = sent(own, "POST", OPEN_PATH, body, guard)
    assert (taken[0]["status"], json.loads(taken[1]["body"])) == (200, {"token": TOKEN})
    assert code(own, "POST", OPEN_PATH, body, guard) == 410
    assert code({"Host": HOST, "Authorization": BASIC}, "DELETE", OPEN_PATH, guard=guard) == 405
    assert code({"Host": HOST, "Authorization": BASIC}, "GET", TICKETS_PATH, guard=guard) == 405


def test_token_file_is_for_its_user_only(tmp_path: Path) -> None:
    path, token = tmp_path / "prefect" / "server.token", new_token()
    (tmp_path / "prefect").mkdir(mode=0o755)
    write_token(path, token)
    assert read_token(path) == token and token != new_token()
    assert [stat.S_IMODE(file.stat().st_mode) for file in (path, path.parent)] == [0o600, 0o700]
    path.chmod(0o640)
    with pytest.raises(AccessError, match=r"no secret.*640"):
        read_token(path)
    path.unlink()
    with pytest.raises(AccessError, match="can't be read"):
        read_token(path)
    (tmp_path / "other").write_text(token)
    (tmp_path / "other").chmod(0o600)
    path.symlink_to(tmp_path / "other")
    with pytest.raises(AccessError, match="can't be read"):
        read_token(path)
    with pytest.raises(AccessError, match="can't be closed"):
        make_private(tmp_path / "other")


def test_environment_of_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {API_VARIABLE: "x", TOKEN_VARIABLE: "theirs", KEY_VARIABLE: "key", "PATH": "p"}
    assert Access("u", TOKEN).environment(before) == {API_VARIABLE: "u", TOKEN_VARIABLE: TOKEN, "PATH": "p"}
    assert TOKEN not in repr(Access("u", TOKEN))
    monkeypatch.setenv(TOKEN_VARIABLE, "theirs")
    monkeypatch.setenv(KEY_VARIABLE, "key")
    with Access("u", TOKEN).named():
        assert (os.environ[TOKEN_VARIABLE], os.environ.get(KEY_VARIABLE)) == (TOKEN, None)
    assert (os.environ[TOKEN_VARIABLE], os.environ[KEY_VARIABLE]) == ("theirs", "key")


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a server that is up, which takes some seconds."""
    home = tmp_path_factory.mktemp("guarded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADFORGE_HOME", str(home))
        patch.delenv(API_VARIABLE, raising=False)
        up(None)
        yield home
        patch.setenv("HEADFORGE_HOME", str(home))
        down(0, now=True)


@pytest.fixture(scope="module")
def server(shared_home: Path) -> Access:
    state = read_state()
    return access_to(Running(state.url, stays=True))


@pytest.fixture(scope="module")
def wanted(server: Access, shared_home: Path) -> tuple[Payload, ...]:
    return payloads(server, shared_home / "canary")


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_attack(server: Access, wanted: tuple[Payload, ...], way: Way) -> None:
    before = what_is_there(server)
    answers = {request: status(server, request) for request in requests(server, way, wanted)}
    assert answers
    assert {request: code for request, code in answers.items() if not is_refusal(code)} == {}
    assert what_is_there(server) == before


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("way", SOCKET_WAYS, ids=lambda way: way.name)
def test_attack_on_a_websocket(server: Access, way: SocketWay, path: str) -> None:
    assert heard(server, path, way) == ""


def test_no_websocket_of_prefect_is_left_out() -> None:
    from prefect.server.api.server import API_ROUTERS
    from starlette.routing import WebSocketRoute

    found = {
        f"/api{route.path}".replace("{work_pool_name}", "headforge")
        for router in API_ROUTERS for route in router.routes if isinstance(route, WebSocketRoute)
    }  # fmt: skip
    assert found == set(SOCKETS)


def test_attacks_would_come_through_without_their_trick(server: Access, wanted: tuple[Payload, ...]) -> None:
    plain = Way("plain")
    shown = [request for request in requests(server, plain, wanted[:2]) if b"Authorization" in request]
    assert [status(server, request) for request in shown] == [200, 200]
    for path in ("/api/events/out", "/api/logs/out"):
        assert json.loads(heard(server, path, SocketWay("plain")))["type"] == "auth_success"
        own = SocketWay("own page", origin="http://127.0.0.1:PORT")
        assert json.loads(heard(server, path, own))["type"] == "auth_success"


CLIENT = """
import asyncio, sys
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.events.clients import get_events_client, get_events_subscriber
from prefect.events.schemas.events import Event, Resource
from prefect.logging.clients import get_logs_subscriber

@flow(name="ours", persist_result=False, log_prints=True)
def ours():
    print("said by ours")
    return 42

async def main(name):
    async with get_events_subscriber() as subscriber, get_events_client() as events, get_client() as client:
        await events.emit(Event(event=name, resource=Resource({"prefect.resource.id": "headforge.test"})))
        async with asyncio.timeout(30):
            async for event in subscriber:
                if event.event == name:
                    break
        run = await client.create_flow_run(ours)
        assert (await client.read_flow_run(run.id)).name == run.name
    async with get_logs_subscriber():
        pass

assert ours() == 42
asyncio.run(main(sys.argv[1]))
print("in")
"""


@pytest.mark.timeout(120)
def test_our_clients_get_in_as_child_processes(server: Access) -> None:
    environment = server.environment(os.environ)
    name = f"headforge.{uuid4()}"
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, name], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["in"]), done.stderr
    assert "ours" in what_is_there(server)["flows"]
    del environment[TOKEN_VARIABLE]
    shut_out = subprocess.run(
        [sys.executable, "-c", CLIENT, name], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert shut_out.returncode and "401" in shut_out.stderr


def test_server_named_by_hand_is_entered_with_the_kept_token(
    server: Access, shared_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADFORGE_HOME", str(shared_home))
    monkeypatch.setenv(API_VARIABLE, server.url)
    with prefect_server() as used:
        assert used == server and os.environ[TOKEN_VARIABLE] == server.token
    assert TOKEN_VARIABLE not in os.environ
    monkeypatch.setenv(TOKEN_VARIABLE, "theirs")  # the user's own settings are left alone
    with prefect_server() as used:
        assert used == Access(server.url, "theirs")


def test_token_is_in_no_log_and_lost_tokens_are_explained(
    server: Access, shared_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADFORGE_HOME", str(shared_home))
    kept = token_file()
    for path in shared_home.rglob("*"):
        if path.is_file() and path != kept:
            assert server.token.encode() not in path.read_bytes(), path
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    kept.rename(hidden := kept.with_suffix(".hidden"))
    try:
        with pytest.raises(AccessError, match="can't be read"), prefect_server():
            pass
        with pytest.raises(AccessError, match="can't be read"):
            down(0)
        with pytest.raises(AccessError, match="no link"):
            open_link(Access(server.url, "headforge:wrong"))
    finally:
        hidden.rename(kept)


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium here; HEADFORGE_TEST_BROWSER names one")
    with browser_page(program, tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def foreign_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Another server of this machine, whose pages are an attacker's."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "index.html").write_text("<!doctype html><title>foreign</title><body>")
    handler = functools.partial(_Silent, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        thread = threading.Thread(target=other.serve_forever, daemon=True)
        thread.start()
        yield other.server_port
        other.shutdown()
        thread.join()


TRY = """
(async () => {
  const base = "BASE", found = {};
  const post = (name, path, type, mode) => fetch(base + path, {
    method: "POST", mode, headers: type ? {"Content-Type": type} : {}, body: new Blob(['{"name": "evil"}']),
  }).then((answer) => { found[name] = answer.type === "opaque" ? "sent" : answer.status; },
          () => { found[name] = "blocked"; });
  await post("json", "/api/flows/", "application/json", "cors");
  await post("text", "/api/flows/", "text/plain", "no-cors");
  await post("untyped", "/api/flows/", "", "no-cors");
  await post("open", "/headforge/open", "application/json", "cors");
  found.socket = await new Promise((resolve) => {
    const socket = new WebSocket(base.replace("http", "ws") + "/api/events/out", ["prefect"]);
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("refused");
  });
  found.frame = await new Promise((resolve) => {
    const frame = document.createElement("iframe");
    frame.onload = () => resolve(frame.contentDocument === null ? "nothing to see" : "framed");
    frame.src = base + "/";
    document.body.append(frame);
  });
  return found;
})()
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", EVIL])
def test_foreign_page_in_a_browser(server: Access, page: Page, foreign_port: int, host: str) -> None:
    before = what_is_there(server)
    page.open(f"http://{host}:{foreign_port}/")
    found = page.run(TRY.replace("BASE", server.url.removesuffix("/api")))
    assert (found["json"], found["open"], found["socket"]) == ("blocked", "blocked", "refused")
    assert found["frame"] == "nothing to see"
    assert what_is_there(server) == before


@pytest.mark.timeout(120)
def test_rebinding_in_a_browser(server: Access, page: Page) -> None:
    before = what_is_there(server)
    base = f"http://{EVIL}:{urlsplit(server.url).port}"
    page.open(f"{base}/")
    assert "is no name of this server" in page.run("document.body.innerText")
    found = page.run(TRY.replace("BASE", base))
    assert (found["json"], found["open"], found["socket"]) == (403, 403, "refused")
    assert what_is_there(server) == before


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_link_opens_the_dashboard_in_a_browser(server: Access, page: Page, name: str) -> None:
    link = open_link(server).replace("127.0.0.1", name)
    page.open(link)
    page.wait_for("location.pathname.includes('dashboard') && document.body.innerText.includes('Work Pools')")
    assert page.run("atob(localStorage.getItem('prefect-password'))") == server.token
    ticket = link.partition("#")[2]
    visited = json.dumps(page.ask("Page.getNavigationHistory"))
    assert ticket not in visited and server.token not in visited
    page.open(link)
    page.wait_for("document.body.innerText.includes('was used')")
    page.run("localStorage.clear()")
    page.open(link.partition("/headforge")[0])
    page.wait_for("location.pathname.includes('login')")
