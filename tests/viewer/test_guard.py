"""Who gets anything from the live viewer: names, origins, tokens, paths, sizes."""

import asyncio
import http.client
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

pytest.importorskip("viser", reason="needs viser, which make installs")

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request

from neural.errors import BackendUnavailable, BadOption
from neural.viewer.live import guard as guards
from neural.viewer.live import server
from neural.viewer.live.guard import LEAST_TOKEN, MOST_BYTES, MOST_CLIENTS, Guard, check_token, is_loopback
from neural.viewer.live.server import Door, open_door
from tests.viewer.raw_client import RawClient

TOKEN = "a-token-of-letters"


def request(path: str = "/", *, websocket: bool = False, **headers: str) -> Request:
    fields = {"Host": "localhost:8080", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if websocket:
        fields["Upgrade"] = "WebSocket"
    return Request(path, Headers(fields))


def status(guard: Guard, asked: Request) -> int | None:
    answer = guard.refusal(asked)
    return None if answer is None else answer.status_code


@contextmanager
def door(**options: object) -> Iterator[Door]:
    opened = open_door(port=0, **options)  # type: ignore[arg-type]
    try:
        yield opened
    finally:
        opened.close()


def get(opened: Door, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", opened.port, timeout=10)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def ends(client: RawClient) -> bool:
    """Whether the server closes a connection soon."""
    try:
        for _ in range(100):
            client.socket.recv(timeout=10)
    except ConnectionClosed:
        return True
    return False


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:9", "[::1]:8080", "LOCALHOST", "127.0.0.2"])
def test_names_of_this_machine_are_answered(host: str) -> None:
    assert status(Guard(8080, True), request(Host=host)) is None


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1", "", "[", "a@b:c"]
)
def test_a_name_that_was_pointed_here_is_not(host: str) -> None:
    assert status(Guard(8080, True), request(Host=host)) == 403


def test_two_names_are_none() -> None:
    asked = request()
    asked.headers["Host"] = "evil.example"  # adds one
    assert status(Guard(8080, True), asked) == 403


def test_beyond_loopback_any_name_is_answered_but_none() -> None:
    cookie = f"neural_viewer_8080={TOKEN}"
    assert status(Guard(8080, False, TOKEN), request(Host="machine.example:8080", Cookie=cookie)) is None
    assert status(Guard(8080, False, TOKEN), request(Host="", Cookie=cookie)) == 403
    assert status(Guard(8080, False, TOKEN), request(Host=":8080", Cookie=cookie)) == 403


@pytest.mark.parametrize(
    ("origin", "refused"),
    [
        ("http://localhost:8080", None),
        ("http://LOCALHOST:8080", None),
        ("http://evil.example", 403),
        ("http://localhost:9999", 403),
        ("null", 403),
        ("http://localhost:8080.evil.example", 403),
    ],
)
def test_websockets_come_from_our_own_page(origin: str, refused: int | None) -> None:
    assert status(Guard(8080, True), request(websocket=True, Origin=origin)) == refused
    assert status(Guard(8080, True), request(websocket=True, Origin=origin, Host="LocalHost:8080")) == refused


def test_of_two_origins_none_is_ours() -> None:
    asked = request(websocket=True, Origin="http://localhost:8080")
    asked.headers["Origin"] = "http://evil.example"  # adds one
    assert status(Guard(8080, True), asked) == 403


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..\\..\\x",
        "//etc/passwd",
        "/index.html/../server.py",
        "/assets/x",
        "/%00",
    ],
)
def test_there_is_one_page_and_no_other_path(path: str) -> None:
    assert status(Guard(8080, True), request(path)) == 404
    with door() as opened:
        code, _, body = get(opened, path)
        assert code == 404
        assert body == b"There is one page here: /\n"


def test_what_an_address_says_beside_the_token_is_dropped() -> None:
    """It could send the page to another server, whose messages run scripts."""
    answer = Guard(8080, True).refusal(request("/?websocket=ws://evil.example"))
    assert answer is not None
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert "Set-Cookie" not in answer.headers


def test_a_token_is_asked_for_before_anything_is_given() -> None:
    guard = Guard(8080, False, TOKEN)
    cookie = f"neural_viewer_8080={TOKEN}"
    for websocket in (False, True):
        assert status(guard, request(websocket=websocket)) == 401
        assert status(guard, request(websocket=websocket, Cookie="neural_viewer_8080=wrong")) == 401
        assert status(guard, request(websocket=websocket, Cookie=f"neural_viewer_9={TOKEN}")) == 401
        assert status(guard, request("/?token=wrong", websocket=websocket)) == 401
        assert status(guard, request(f"/?token={TOKEN.upper()}", websocket=websocket)) == 401
        assert status(guard, request(f"/?token={TOKEN[:-1]}", websocket=websocket)) == 401
        assert status(guard, request("/?token=wr%C3%B6ng", websocket=websocket)) == 401
        assert status(guard, request(websocket=websocket, Cookie=cookie)) is None
    assert status(guard, request(f"/?token={TOKEN}", websocket=True)) is None


def test_the_cookie_may_be_in_any_of_several_headers() -> None:
    asked = request(Cookie="a=b")
    asked.headers["Cookie"] = f"neural_viewer_8080={TOKEN}"  # adds one
    assert status(Guard(8080, False, TOKEN), asked) is None


@pytest.mark.parametrize("other", ['seen={"a": [1, 2]}', "a b", "flag", "name=two words", "x[0]=1", 'half="of'])
def test_cookies_of_other_servers_do_not_hide_ours(other: str) -> None:
    """Cookies know no ports: all servers of one machine share them."""
    guard, cookie = Guard(8080, True, TOKEN), f"neural_viewer_8080={TOKEN}"
    assert status(guard, request(Cookie=f"{other}; {cookie}")) is None
    assert status(guard, request(Cookie=f"{cookie}; {other}")) is None
    assert status(guard, request(Cookie=other)) == 401


def test_a_token_of_bytes_that_are_no_text_is_refused_and_not_an_error() -> None:
    with door(token=TOKEN) as opened, closing(socket.create_connection(("127.0.0.1", opened.port), timeout=10)) as one:
        one.sendall(b"GET /?token=\xff HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert one.recv(64).startswith(b"HTTP/1.1 401 ")


def test_a_refusal_is_kept_by_nobody_and_ends_the_connection() -> None:
    answer = Guard(8080, False, TOKEN).refusal(request("/?token=wrong"))
    assert answer is not None and answer.headers["Connection"] == "close"
    assert {name: answer.headers[name] for name in guards._HEADERS} == guards._HEADERS


def test_the_token_moves_from_the_address_into_a_cookie() -> None:
    answer = Guard(8080, False, TOKEN).refusal(request(f"/?token={TOKEN}", Host="machine:8080"))
    assert answer is not None
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/"
    assert answer.headers["Set-Cookie"] == f"neural_viewer_8080={TOKEN}; HttpOnly; SameSite=Lax; Path=/"


def test_an_open_address_has_a_token() -> None:
    with pytest.raises(ValueError, match="needs a token"):
        Guard(8080, False)
    with door(host="0.0.0.0") as opened:
        assert opened.guard.token is not None
        assert len(opened.guard.token) >= 32
        assert opened.guard.token in opened.address
        assert get(opened, "/")[0] == 401
        code, headers, body = get(opened, "/", Cookie=f"neural_viewer_{opened.port}={opened.guard.token}")
        assert code == 200
        assert b"<html" in body
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        policy = dict(rule.strip().split(" ", 1) for rule in headers["Content-Security-Policy"].split(";"))
        assert policy["connect-src"] == "'self' blob: data:"
        assert policy["frame-ancestors"] == "'self'"
        assert policy["default-src"] == "'self' 'unsafe-inline' 'unsafe-eval' blob: data:"
        with pytest.raises(InvalidStatus):
            RawClient(opened.port)
        with RawClient(opened.port, Cookie=f"neural_viewer_{opened.port}={opened.guard.token}") as client:
            client.look((0, -3, 0))
            assert client.messages(1.0)


@pytest.mark.parametrize("token", ["short", "with spaces in it", "sémi-colon;...", "a" * 11])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(BadOption, match="--token"):
        open_door(port=0, token=token)


def test_a_token_of_enough_letters_is_one() -> None:
    check_token("a" * LEAST_TOKEN)
    check_token("A-z_0" * 20)
    with door(token="a" * LEAST_TOKEN) as opened:
        assert get(opened, "/")[0] == 401, "also on loopback"


def test_loopback_addresses() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.8.8", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "example.com", "")))


def test_a_large_or_senseless_message_ends_its_connection_and_no_other() -> None:
    with door() as opened, RawClient(opened.port) as other:
        other.look((0, -3, 0))
        for nonsense in (b"x" * (MOST_BYTES + 1), b"\xff\xff", b"\x81\xa4type\xa4Nope", "text"):
            with RawClient(opened.port) as client:
                client.socket.send(nonsense)
                assert ends(client)
        other.look((1, -3, 0))
        assert len(opened.viser.get_clients()) == 1


def test_a_message_that_makes_sense_but_is_too_large_ends_its_connection() -> None:
    assert MOST_BYTES <= 1 << 20
    with door() as opened, RawClient(opened.port) as client:
        client.send("GuiUpdateMessage", uuid="none", updates={"value": "x" * (MOST_BYTES // 2)})
        client.look((0, -3, 0))
        client.messages(0.3)
        assert len(opened.viser.get_clients()) == 1
        client.send("GuiUpdateMessage", uuid="none", updates={"value": "x" * MOST_BYTES})
        assert ends(client)
        assert client.socket.close_code == 1009, "too big"


def test_what_strangers_send_reaches_no_log(caplog: pytest.LogCaptureFixture) -> None:
    with door() as opened:
        for garbage in (b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nHost: \x1b[31m\r\n\r\n", b"NONSENSE\r\n\r\n"):
            with closing(socket.create_connection(("127.0.0.1", opened.port), timeout=10)) as stranger:
                stranger.sendall(garbage)
                stranger.shutdown(socket.SHUT_WR)
                while stranger.recv(4096):
                    pass
    assert [record for record in caplog.records if record.name.startswith("websockets")] == []


def test_no_browser_opens_a_tunnel_to_the_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    import viser

    opened_tunnels: list[object] = []
    monkeypatch.setattr("viser._viser.ViserTunnel", lambda *a, **k: opened_tunnels.append(a))
    with door() as opened, RawClient(opened.port) as client:
        client.look((0, -3, 0))
        client.send("ShareUrlRequest")
        client.send("ShareUrlDisconnect")
        client.messages(0.5)
        assert opened.viser.request_share_url() is None
    assert viser.ViserServer.request_share_url is not type(opened.viser).request_share_url
    assert opened_tunnels == []


@pytest.mark.parametrize("path", ["//[", "http://[", "/"])
def test_what_is_no_address_is_refused_and_not_an_error(path: str) -> None:
    assert status(Guard(8080, False, TOKEN), request(path, Origin="http://[")) == 400
    assert status(Guard(8080, True), request(path, websocket=True, Origin="http://[")) == 400


def test_other_protocols_are_refused_before_they_are_named_in_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from websockets.sync.client import connect

    with door() as opened:
        for names in (None, ["viser-v0.0.1"], ["rude-words"]):
            with pytest.raises(InvalidStatus):
                connect(f"ws://127.0.0.1:{opened.port}/", subprotocols=names, proxy=None)  # type: ignore[arg-type]
        assert get(opened, "//[")[0] == 400
    assert capsys.readouterr() == ("", "")


def test_there_are_so_many_browsers_and_no_more() -> None:
    guard = Guard(8080, True)
    guard.clients = MOST_CLIENTS
    assert status(guard, request(websocket=True)) == 503
    assert status(guard, request()) is None


def test_a_connection_that_ends_in_an_error_is_counted_no_more() -> None:
    guard = Guard(8080, True)

    async def broken(connection: object) -> None:
        assert guard.clients == 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        asyncio.run(guard.counted(broken)(None))  # type: ignore[arg-type]
    assert guard.clients == 0


def test_a_viser_that_cannot_be_guarded_serves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from viser.infra import _infra

    @contextmanager
    def untaken(guard: Guard, listening: socket.socket) -> Iterator[list[bool]]:
        yield []

    stopped = []
    monkeypatch.setattr(server, "_our_serve", untaken)
    stop = _infra.WebsockServer.stop
    monkeypatch.setattr(_infra.WebsockServer, "stop", lambda self: (stopped.append(1), stop(self)))
    with pytest.raises(BackendUnavailable, match="cannot be guarded"):
        open_door(port=0)
    assert stopped


def test_a_taken_port_leads_to_the_next_and_says_so() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        opened = open_door(port=port)
        try:
            assert port < opened.port < port + server.PORTS
            assert f"port {port} is taken" in opened.directions()
            assert f"ssh -L {opened.port}:127.0.0.1:{opened.port}" in opened.directions()
        finally:
            opened.close()


def test_addresses_that_are_not_ours_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadOption, match=r"--host 192\.0\.2\.1"):
        open_door(host="192.0.2.1", port=0)
    with pytest.raises(BadOption, match="no address"):
        open_door(host="no such name", port=0)
    with pytest.raises(BadOption, match="--port"):
        open_door(port=70_000)
    monkeypatch.setattr(server, "PORTS", 1)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken, pytest.raises(BadOption, match="one with --port"):
        open_door(port=taken.getsockname()[1])


def test_without_viser_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'neural\[viewer\]'"):
        open_door(port=0)


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    compare = guards.hmac.compare_digest
    monkeypatch.setattr(guards.hmac, "compare_digest", lambda a, b: (compared.append(a), compare(a, b))[1])
    assert status(Guard(8080, False, TOKEN), request("/?token=wrong")) == 401
    assert compared == [b"wrong"]
