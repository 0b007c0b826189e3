"""Who may speak to the live viewer: looked at before a byte of the page or of a websocket is given.

Three things are asked of every request. It must name this server (`Host`), or a page of a name that an attacker points
at 127.0.0.1 could talk to it (DNS rebinding). A websocket that a browser opens must come from our own page (`Origin`).
And where there is a token, it must be known: from the address that was printed, afterwards from a cookie. Nothing but
the one page is served, so no path from outside is ever opened.
"""

import hmac
import http
import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

MOST_BYTES = 1 << 18  # of a message from a browser; cameras and widgets have some hundred
MOST_CLIENTS = 64
LEAST_TOKEN = 12  # characters
_LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}
_HEADERS = {
    "Cache-Control": "no-store",
    # The page is one file with everything in it. It may talk to nobody else, whatever a link to it asks for.
    "Content-Security-Policy": (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; connect-src 'self' blob: data:; "
        "frame-ancestors 'self'"
    ),
    "Referrer-Policy": "no-referrer",  # the address may hold the token
    "X-Content-Type-Options": "nosniff",
}

Handler = Callable[["ServerConnection"], Awaitable[None]]
Process = Callable[["ServerConnection", "Request"], "Response | None"]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """One that nobody guesses."""
    return secrets.token_urlsafe(24)


@dataclass
class Guard:
    """Judges requests to one server.

    Attributes:
        port: That the server listens on; cookies know no ports, so their name has it.
        loopback: Only this machine reaches it.
        token: Must be known; None for none, on loopback only.
        protocol: That websockets must speak; None for any.
        clients: Connected now.
    """

    port: int
    loopback: bool
    token: str | None = None
    protocol: str | None = None
    clients: int = 0

    def __post_init__(self) -> None:
        if self.token is None and not self.loopback:
            raise ValueError("Guard: an address that others reach needs a token")

    def process(self, page: Process) -> Process:
        """`process_request` of websockets, in front of the server's own, which gives the page."""

        def process(connection: "ServerConnection", request: "Request") -> "Response | None":
            refused = self.refusal(request)
            if refused is not None:
                return refused
            if is_websocket(request):
                return None
            answer = page(connection, request)
            if answer is not None:
                for name, value in _HEADERS.items():
                    answer.headers[name] = value
            return answer

        return process

    def counted(self, handler: Handler) -> Handler:
        """A handler of connections that keeps their number."""

        async def handle(connection: "ServerConnection") -> None:
            self.clients += 1  # by the server's one thread, as all that reads it
            try:
                await handler(connection)
            finally:
                self.clients -= 1

        return handle

    def refusal(self, request: "Request") -> "Response | None":
        """What a request is answered without being served; None for one that may pass."""
        headers = request.headers
        hosts = headers.get_all("Host")
        if len(hosts) != 1 or not self._is_here(hosts[0]):
            return _text(http.HTTPStatus.FORBIDDEN, "This viewer does not answer to that name.")
        try:
            target = urlsplit(request.path)
            origins = [urlsplit(origin).netloc.lower() for origin in headers.get_all("Origin")]
        except ValueError:
            return _text(http.HTTPStatus.BAD_REQUEST, "That is no address.")
        if is_websocket(request):
            if origins not in ([], [hosts[0].lower()]):
                return _text(http.HTTPStatus.FORBIDDEN, "Only the viewer's own page may connect.")
            if not self._knows_token(request, target.query):
                return _text(http.HTTPStatus.UNAUTHORIZED, "A token is needed.")
            if self.clients >= MOST_CLIENTS:
                return _text(http.HTTPStatus.SERVICE_UNAVAILABLE, f"{MOST_CLIENTS} browsers are connected already.")
            spoken = ",".join(headers.get_all("Sec-WebSocket-Protocol")).split(",")
            if self.protocol is not None and self.protocol not in (name.strip() for name in spoken):
                return _text(http.HTTPStatus.UPGRADE_REQUIRED, "This page is of another version: load it again.")
            return None
        if target.path not in ("/", "/index.html"):
            return _text(http.HTTPStatus.NOT_FOUND, "There is one page here: /")
        if not self._knows_token(request, target.query):
            return _text(
                http.HTTPStatus.UNAUTHORIZED, "This viewer needs a token: open the address that was printed with it."
            )
        if target.query:  # the token moves into a cookie; anything else would steer the page, and is dropped
            return self._to_page(with_cookie=self.token is not None)
        return None

    def _is_here(self, host: str) -> bool:
        """Whether a Host header names this server; beyond loopback any name may: nobody else's page has the cookie."""
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return bool(name) and (not self.loopback or name in _LOCAL_NAMES or is_loopback(name or ""))

    def _knows_token(self, request: "Request", query: str) -> bool:
        if self.token is None:
            return True
        given = parse_qs(query).get("token", [])
        # Read by hand: a browser sends along what other servers of this name have set, and one cookie that is not as
        # RFC 6265 has it (JSON, spaces) would end http.cookies' reading of them all.
        for cookie in ";".join(request.headers.get_all("Cookie")).split(";"):
            name, _, value = cookie.partition("=")
            if name.strip() == self._cookie:
                given.append(value.strip())
        known = self.token.encode()
        return any(hmac.compare_digest(value.encode(errors="surrogateescape"), known) for value in given)

    def _to_page(self, with_cookie: bool) -> "Response":
        answer = _text(http.HTTPStatus.SEE_OTHER, "")
        answer.headers["Location"] = "/"
        if with_cookie:
            answer.headers["Set-Cookie"] = f"{self._cookie}={self.token}; HttpOnly; SameSite=Lax; Path=/"
        return answer

    @property
    def _cookie(self) -> str:
        return f"neural_viewer_{self.port}"


def check_token(token: str) -> None:
    """Refuses a token that is short, or that an address or a cookie cannot hold.

    Raises:
        ValueError: Says what it must be.
    """
    plain = token.isascii() and all(c.isalnum() or c in "-_" for c in token)
    if len(token) < LEAST_TOKEN or not plain:
        raise ValueError(f"--token must be {LEAST_TOKEN} or more letters, digits, - and _")


def is_websocket(request: "Request") -> bool:
    """Whether a request asks for a websocket."""
    return any(value.lower() == "websocket" for value in request.headers.get_all("Upgrade"))


def _text(status: http.HTTPStatus, message: str) -> "Response":
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    body = f"{message}\n".encode()
    headers: Any = Headers({**_HEADERS, "Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))})
    headers["Connection"] = "close"
    return Response(status.value, status.phrase, headers, body)
