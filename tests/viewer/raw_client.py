"""A browser without a page: it speaks viser's protocol over a websocket, moves a camera, and takes pictures."""

import io
import time
from typing import Any

import msgspec
import numpy as np
import viser
import zstandard
from PIL import Image
from websockets.sync.client import ClientConnection, connect

SIZE = (320, 180)


class RawClient:
    """One connection.

    Args:
        port: Of a viewer on this machine.
        headers: More of them.
    """

    def __init__(self, port: int, **headers: str) -> None:
        self.socket: ClientConnection = connect(
            f"ws://127.0.0.1:{port}/", subprotocols=[f"viser-v{viser.__version__}"], max_size=None,
            additional_headers=headers or None, compression=None, proxy=None, open_timeout=20,
        )  # fmt: skip

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, kind: str, **fields: Any) -> None:
        """Any message."""
        self.socket.send(msgspec.msgpack.encode({"type": kind, **fields}))

    def look(
        self, position: tuple[float, float, float], size: tuple[int, int] = SIZE, *, fov: float = 1.0, **changes: Any
    ) -> None:
        """Puts the camera there, looking along +y with +z up."""
        half = 0.5**0.5
        fields = {
            "wxyz": (half, -half, 0.0, 0.0), "position": position, "fov": fov, "near": 0.01, "far": 1000.0,
            "image_height": size[1], "image_width": size[0], "look_at": (position[0], position[1] + 1, position[2]),
            "up_direction": (0.0, 0.0, 1.0),
        }  # fmt: skip
        self.send("ViewerCameraMessage", **fields | changes)

    def messages(self, seconds: float) -> list[dict[str, Any]]:
        """What comes within a time; arrays are left out."""
        end = time.perf_counter() + seconds
        found: list[dict[str, Any]] = []
        while (left := end - time.perf_counter()) > 0:
            try:
                raw = self.socket.recv(timeout=left)
            except TimeoutError:
                break
            assert isinstance(raw, bytes)
            packed = int.from_bytes(raw[8:16], "little")
            content = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(raw[16 : 16 + packed]))
            found += content["messages"]
        return found

    def pictures(self, n: int, seconds: float = 20.0) -> list[np.ndarray]:
        """The next n pictures.

        Raises:
            TimeoutError: Fewer came.
        """
        end = time.perf_counter() + seconds
        found: list[np.ndarray] = []
        while len(found) < n:
            if time.perf_counter() > end:
                raise TimeoutError(f"{len(found)} of {n} pictures came within {seconds} s")
            for message in self.messages(0.05):
                if message["type"] == "BackgroundImageMessage" and message["rgb_data"] is not None:
                    found.append(np.asarray(Image.open(io.BytesIO(message["rgb_data"]))))
        return found
