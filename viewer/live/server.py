"""The web server of the live viewer: viser's, bound by ourselves and behind the guard."""

import contextlib
import ctypes
import errno
import importlib.util
import io
import logging
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from neural.errors import BackendUnavailable, BadOption
from neural.viewer.live.guard import MOST_BYTES, Guard, check_token, is_loopback, new_token

if TYPE_CHECKING:
    import viser

PORT = 8080
PORTS = 20  # tried one after the other
PIP = "pip install 'neural[viewer]'"
_LOG = logging.getLogger("neural.viewer")
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False  # of what strangers send, nothing reaches the terminal
_building = threading.Lock()
_M_ARENA_MAX, _ARENAS = -8, 2


class Door:
    """A running server and how to get to it.

    Attributes:
        viser: The server.
        guard: In front of it.
        host, port: That it listens on.
    """

    def __init__(self, server: "viser.ViserServer", guard: Guard, host: str, port: int, asked: int) -> None:
        self.viser, self.guard, self.host, self.port, self._asked = server, guard, host, port, asked
        self._clock: int | None = None
        server.get_event_loop().call_soon_threadsafe(self._find_clock)

    @property
    def address(self) -> str:
        """What to open in a browser, with the token where there is one."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        if self.host in ("0.0.0.0", "::"):
            shown = socket.gethostname()
        token = f"?token={self.guard.token}" if self.guard.token is not None else ""
        return f"http://{shown}:{self.port}/{token}"

    def directions(self) -> str:
        """What to tell people: the address, and how to come from another machine."""
        lines = [f"viewer: {self.address}"]
        if self.port != self._asked and self._asked != 0:
            lines[0] += f"  (port {self._asked} is taken)"
        if self.guard.loopback:
            tunnel = f"ssh -L {self.port}:127.0.0.1:{self.port} {socket.gethostname()}"
            lines.append(f"        from another machine: {tunnel}, then the same address there")
        else:
            lines.append("        whoever has this address can watch and steer; it is not encrypted (ssh -L is)")
        return "\n".join(lines)

    def seconds(self) -> float:
        """CPU time that the server's thread has had; 0 where the system does not tell."""
        return 0.0 if self._clock is None else time.clock_gettime(self._clock)

    def _find_clock(self) -> None:
        if hasattr(time, "pthread_getcpuclockid"):
            self._clock = time.pthread_getcpuclockid(threading.get_ident())

    def close(self) -> None:
        """Ends the server and its threads."""
        self._clock = None  # of a thread that will be gone
        with contextlib.redirect_stdout(io.StringIO()):  # viser takes leave
            self.viser.stop()


def open_door(*, host: str = "127.0.0.1", port: int = PORT, token: str | None = None, label: str | None = None) -> Door:
    """Starts a server.

    Args:
        host: To listen on; one that is not loopback gets a token if none is given.
        port: The first to try; 0 for any.
        token: That browsers must know.
        label: Shown over the panel.

    Raises:
        BackendUnavailable: viser is not installed, or one that cannot be guarded.
        BadOption: The address is not this machine's, no port is free, or the token is none.
    """
    _check(token)
    local = is_loopback(host)
    listening = _listen(_numeric(host), port)
    bound = listening.getsockname()
    guard = Guard(bound[1], local, token if token is not None or local else new_token(), _protocol())
    try:
        server = _guarded(guard, listening, label)
    except BaseException:
        listening.close()
        raise
    return Door(server, guard, bound[0], bound[1], port)


def check_door(*, host: str = "127.0.0.1", port: int = PORT, token: str | None = None) -> None:
    """Raises what `open_door` would, before something that takes long."""
    _check(token)
    _listen(_numeric(host), port).close()


def _check(token: str | None) -> None:
    if importlib.util.find_spec("viser") is None:
        raise BackendUnavailable(f"the live viewer needs viser: {PIP}")
    if token is not None:
        try:
            check_token(token)
        except ValueError as error:
            raise BadOption(str(error)) from error


def _numeric(host: str) -> str:
    return "127.0.0.1" if host == "localhost" else host


def _listen(host: str, port: int) -> socket.socket:
    """A socket on the first free port.

    Raises:
        BadOption: None is free, or there is no such address here.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise BadOption(f"--host {host} is no address: {error}") from error
    for tried in range(port, port + (1 if port == 0 else PORTS)):
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((address[0], tried, *address[2:]))
            listening.listen(64)
            return listening
        except OverflowError as error:
            listening.close()
            raise BadOption(f"--port must be 0 to 65535, got {tried}") from error
        except OSError as error:
            listening.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise BadOption(f"--host {host}: cannot listen there: {error.strerror}") from error
    raise BadOption(f"no port from {port} to {port + PORTS - 1} is free on {host}; choose one with --port")


def _guarded(guard: Guard, listening: socket.socket, label: str | None) -> "viser.ViserServer":
    """viser's server on our socket, with the guard before everything it answers.

    viser opens its socket itself and has no place for a check, so for the length of its start it is handed a `serve`
    of ours. If a version of it does not take that one, nothing is served.
    """
    import viser

    _share_heaps()
    # What is said to a browser that has just left is lost, as it should be.
    warnings.filterwarnings("ignore", message="Queued a .* on a closed connection")

    class Server(viser.ViserServer):
        """One whose browsers cannot make it open a tunnel to the internet."""

        def request_share_url(self, verbose: bool = True) -> str | None:
            return None

        def disconnect_share_url(self) -> None:
            return None

    with _building, _our_serve(guard, listening) as used, contextlib.redirect_stdout(io.StringIO()):
        server = Server(host=listening.getsockname()[0], port=listening.getsockname()[1], label=label, verbose=False)
    if not used:
        server.stop()
        raise BackendUnavailable(f"viser {viser.__version__} cannot be guarded by this version of neural: {PIP}")
    return server


def _protocol() -> str:
    """What pages of this viser speak; to others it would answer with a line in the terminal."""
    import viser

    return f"viser-v{viser.__version__}"


def _share_heaps() -> None:
    """Keeps glibc from giving each of viser's 32 threads a heap of its own, none of which would ever shrink."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, _ARENAS)


@contextlib.contextmanager
def _our_serve(guard: Guard, listening: socket.socket) -> Iterator[list[bool]]:
    """Within, viser's `websockets.asyncio.server.serve` is one on our socket and behind our guard."""
    from viser.infra import _infra

    theirs = _infra.websockets
    used: list[bool] = []

    def serve(handler: Any, host: str, port: int, *, process_request: Any, **options: Any) -> Any:
        used.append(True)
        options |= {"max_size": MOST_BYTES, "logger": _LOG, "sock": listening}
        return theirs.asyncio.server.serve(
            guard.counted(handler), process_request=guard.process(process_request), **options
        )

    _infra.websockets = _Overlay(
        theirs, asyncio=_Overlay(theirs.asyncio, server=_Overlay(theirs.asyncio.server, serve=serve))
    )
    try:
        yield used
    finally:
        _infra.websockets = theirs


class _Overlay:
    """A module with some of its names replaced."""

    def __init__(self, module: Any, **names: Any) -> None:
        self.__dict__.update(names, _module=module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)
