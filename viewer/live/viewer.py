"""The live viewer: browsers come and go, one thread makes the pictures of all of them.

That thread is whoever calls `turn`: the main one while a finished run is looked at, the training one between two steps
and while it is paused. So a scene is never drawn while it changes, and no two threads fight over the cores.
"""

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from neural.errors import BadOption
from neural.viewer.live.budget import Rate
from neural.viewer.live.client import Client, Order
from neural.viewer.live.pictures.film import Film
from neural.viewer.live.pictures.painter import Painter, Picture
from neural.viewer.live.scenery import Scenery
from neural.viewer.live.server import Door
from neural.viewer.live.subjects.subject import Subject

if TYPE_CHECKING:
    import viser

BEFORE = 1.3  # sizes of a frustum within which the browser draws nothing: who stands in a camera looks out of it
QUALITY = {"moving": 65, "still": 85}  # of JPEGs
IDLE = 0.5  # seconds between two looks around where nobody asks for anything
FILMING = 0.01  # the same while an encoder will soon want a frame
MOST_FILMS = 4  # at once
PARTING = 5.0  # seconds that a film which is given up has to remove what it wrote


class Viewer:
    """Serves pictures of a subject to any number of browsers.

    Args:
        subject: What is looked at.
        door: Running server; `close` ends it.

    Attributes:
        subject: May be replaced between two turns, by a later state of the same scene.
        moment: Counts its states.
        rate: Pictures sent.
        last: Width and height of the last one.
        on_join, on_leave: Called when a browser comes or goes; the latter twice if it goes while it comes.
        on_picture: Called when a picture was sent.
        films: Being made and written.
        closing: Set at the end.
    """

    def __init__(self, subject: Subject, door: Door) -> None:
        self.subject, self.door = subject, door
        self.moment = 0
        self.rate = Rate()
        self.painter = Painter()
        self.last: tuple[int, int] | None = None
        self.on_join: list[Callable[[Client], None]] = []
        self.on_leave: list[Callable[[Client], None]] = []
        self.on_picture: list[Callable[[Order, Picture], None]] = []
        self.films: list[Film] = []
        self.closing = threading.Event()
        self._clients: dict[int, Client] = {}
        self._joining = threading.Lock()
        self._lock = threading.Lock()
        self._news = threading.Event()
        self.scenery = Scenery(door.viser, subject)
        self.scenery.on_snap = self._snap
        door.viser.on_client_disconnect(self._leave)
        door.viser.on_client_connect(self._join)

    @property
    def clients(self) -> list[Client]:
        """The browsers that are connected."""
        with self._lock:
            return list(self._clients.values())

    def wake(self) -> None:
        """There may be something to do."""
        self._news.set()

    def wait(self, seconds: float) -> None:
        """Rests until there is news, but no longer than this, nor than a camera needs to come to rest."""
        soonest = min((client.waits() for client in self.clients), default=math.inf)
        self._news.wait(max(0.0, min(seconds, soonest)))
        self._news.clear()

    def next_order(self) -> Order | None:
        """The picture that was waited for longest."""
        orders = [order for client in self.clients if (order := client.order(self.moment)) is not None]
        return min(orders, key=lambda order: order.client.waiting_since(), default=None)

    def make(self, order: Order, most_seconds: float | None = None) -> None:
        """Makes a picture and sends it, unless its camera moves on meanwhile.

        Args:
            order: What to make.
            most_seconds: That it may take, about.
        """
        picture = self.painter.paint(self.subject, order, most_seconds=most_seconds)
        if picture is not None and not order.client.gone:
            self._send(order, picture)

    def turn(self) -> bool:
        """Makes the next picture; False if there is none to make."""
        order = self.next_order()
        if order is not None:
            self.make(order)
        return order is not None

    def serve(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Turns until told otherwise."""
        while not stop():
            self.serve_once()

    def serve_once(self) -> None:
        """Makes what there is to make, or waits for it a little."""
        made, worked = self.turn(), self.work()
        if not made and not worked:
            self.wait(FILMING if self.films else IDLE)

    def work(self) -> bool:
        """Makes a frame of each film, or a small picture; False if there is none to make."""
        with self._lock:
            films = self.films = [film for film in self.films if film.busy]
        return any([film.step(self.subject) for film in films]) or self.scenery.work()

    def start_film(self, target: Path, make: Callable[[], Film]) -> Film:
        """Begins a film; called by the server's threads.

        Args:
            target: Its file.
            make: Gives it.

        Raises:
            BadOption: Another film writes that file, or there are too many; says what to do.
        """
        with self._lock:
            busy = [film for film in self.films if film.busy]
            if any(film.target == target for film in busy):
                raise BadOption(f"{target.name} is being filmed already; choose another name")
            if len(busy) >= MOST_FILMS or self.closing.is_set():
                raise BadOption(f"{len(busy)} films are being made already; wait for one of them")
            film = make()
            self.films = [*busy, film]
        self.wake()
        return film

    def close(self) -> None:
        """Says goodbye to all browsers."""
        with self._lock:
            self.closing.set()
        for film in self.films:
            film.cancel()
        for film in self.films:
            film.join(PARTING)
        self.door.close()

    def _send(self, order: Order, picture: Picture) -> None:
        client = order.client
        client.took(order, self.moment)
        self.last = (picture.rgb.shape[1], picture.rgb.shape[0])
        self.rate.count()
        exact = self.subject.flat and order.level == "still"  # JPEGs halve the resolution of colours
        with client.speaking():
            client.handle.scene.set_background_image(
                picture.rgb, format="png" if exact else "jpeg", jpeg_quality=QUALITY[order.level], depth=picture.depth
            )
            for tell in self.on_picture:
                tell(order, picture)

    def _join(self, handle: "viser.ClientHandle") -> None:
        server, number = self.door.viser, handle.client_id
        client = Client(handle, self.wake, lambda: not self.closing.is_set() and number in server.get_clients())

        async def moved(camera: "viser.CameraHandle") -> None:  # on the server's own thread: in order
            client.look(camera)

        with self._lock:
            self._clients[number] = client
        with client.speaking():
            if self.scenery.size:
                handle.camera.near = BEFORE * self.scenery.size
            with self._joining:  # viser's containers are not made for two threads
                for tell in self.on_join:
                    tell(client)
            handle.camera.on_update(moved)
            client.look(handle.camera)
        if client.gone or number not in server.get_clients():  # left meanwhile, perhaps before it was known here
            self._forget(client)

    def _leave(self, handle: "viser.ClientHandle") -> None:
        with self._lock:
            client = self._clients.get(handle.client_id)
        if client is not None:
            self._forget(client)

    def _forget(self, client: Client) -> None:
        """It has left. Said again where that was while its panel was built: what is built after is to go too."""
        client.gone = True
        with self._lock:
            self._clients.pop(client.handle.client_id, None)
        for tell in self.on_leave:
            tell(client)

    def _snap(self, client_id: int, index: int) -> None:
        """Puts a browser's camera where a photograph was taken."""
        with self._lock:
            client = self._clients.get(client_id)
        scene = self.subject.scene
        if client is None or scene is None:
            return
        snap(client, self.subject, index)


def snap(client: Client, subject: Subject, index: int) -> None:
    """Puts a browser's camera where a photograph was taken, so that it sees all of that."""
    assert subject.scene is not None
    taken = subject.scene.cameras[index]
    wxyz, position = subject.frame.pose(taken.c2w[0].cpu().double().numpy())
    camera = client.handle.camera
    width, height = taken.sizes[0].tolist()
    fx, fy = taken.intrinsics[0, :2].tolist()
    tall, wide = height / 2 / fy, width / 2 / fx
    viewpoint = client.viewpoint
    if viewpoint is not None:  # a narrow window shows the width of the photograph, and more above and below
        tall = max(tall, wide * viewpoint.height / viewpoint.width)
    with client.speaking(), client.handle.atomic():
        camera.position = position
        camera.wxyz = wxyz
        camera.fov = 2 * math.atan(tall)
