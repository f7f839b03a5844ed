"""The link that opens the dashboard: a ticket for one use, which the page exchanges for the server's token.

The ticket is in the link's fragment, which a browser does not send: neither to the server, so that no log has it, nor
to the next page as its referrer. The copy in a history, a terminal or a process list has been used.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import secrets
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from flows.services.access import Access, AccessError

OPEN_PATH = "/headforge/open"
TICKETS_PATH = "/headforge/tickets"
LIFETIME_S = 600.0
MAX_TICKETS = 16
TIMEOUT_S = 10.0

# Prefect's pages keep the token, in base64, under this name (their own login page puts it there).
SCRIPT = """
const ticket = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
const say = (text) => { document.body.textContent = text; };
fetch(location.pathname, {
  method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({ticket}),
}).then(async (answer) => {
  const found = await answer.json();
  if (!answer.ok) return say(found.detail);
  localStorage.setItem("prefect-password", btoa(found.token));
  location.replace("/");
}).catch((error) => say(String(error)));
"""
PAGE = (
    f'<!doctype html><meta charset="utf-8"><title>headforge</title><body>Opening ...</body><script>{SCRIPT}</script>'
).encode()
_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
PAGE_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        f"default-src 'none'; script-src 'sha256-{_HASH}'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'".encode(),
    ),
)
"""This script and no other, which talks to this server only."""


class Tickets:
    """Tickets that are out: each good once, for some minutes, the newest few only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def issue(self) -> str:
        """Issue a ticket; the oldest ones are dropped when there are too many."""
        ticket = secrets.token_urlsafe(32)
        self._until[ticket] = self._clock() + LIFETIME_S
        for old in list(self._until)[:-MAX_TICKETS]:
            del self._until[old]
        return ticket

    def take(self, ticket: str) -> bool:
        """Return whether the ticket was valid, and invalidate it."""
        return self._until.pop(ticket, 0.0) > self._clock()


def open_link(access: Access) -> str:
    """Return a new link to the server's dashboard, valid once."""
    place = urlsplit(access.url)
    shown = base64.b64encode(access.token.encode()).decode()
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=TIMEOUT_S)  # past any proxy
    try:
        connection.request("POST", TICKETS_PATH, headers={"Authorization": f"Basic {shown}"})
        answer = connection.getresponse()
        found = json.loads(answer.read()) if answer.status == http.client.OK else {}
    except (OSError, ValueError, http.client.HTTPException) as error:
        found = {"error": str(error)}
    finally:
        connection.close()
    if "ticket" not in found:
        raise AccessError(
            f"the server at {access.url} gives no link to its page: {found.get('error', 'its token is another')}.",
            "stop it with 'headforge down' and start it again with 'headforge up'.",
        )
    return f"{place.scheme}://{place.netloc}{OPEN_PATH}#{found['ticket']}"
