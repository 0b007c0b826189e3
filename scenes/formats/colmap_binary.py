"""COLMAP's binary files; all numbers are little-endian.

    cameras.bin   u64 n; n x (i32 id, i32 model, u64 width, u64 height, f64 params[model])
    images.bin    u64 n; n x (i32 id, f64 quat[4], f64 translation[3], i32 camera, name NUL, u64 m, m x (f64
    x y, i64 point)) points3D.bin  u64 n; n x (u64 id, f64 xyz[3], u8 rgb[3], f64 error, u64 m, m x (i32
    image, i32 feature))

A count is believed only after the bytes that follow it could hold so many of the smallest records.
"""

import struct
from pathlib import Path

import numpy as np

from neural.errors import SceneFormatError
from neural.scenes.formats.colmap_records import Camera, Image, Points3D, usable_lens

_LONGEST_NAME = 4096
_FEATURE = np.dtype([("xy", "<f8", 2), ("point", "<i8")])
_POINT = np.dtype([("id", "<i8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("m", "<u8")])
_TRACK_ENTRY = 8


def read_cameras(path: Path) -> dict[int, Camera]:
    """Cameras by id."""
    cursor = _Cursor(path)
    cameras = {}
    for _ in range(cursor.count("cameras", smallest=48)):
        index, model, width, height = cursor.unpack("<iiQQ", "a camera")
        lens = usable_lens(path, model)
        params = cursor.array(np.dtype("<f8"), lens.n_params, "camera parameters")
        cameras[index] = Camera(lens, (min(width, 2**62), min(height, 2**62)), params)
    return cameras


def read_images(path: Path) -> list[Image]:
    """Posed images with their features."""
    cursor = _Cursor(path)
    images = []
    for _ in range(cursor.count("images", smallest=73)):
        _, *pose, camera = cursor.unpack("<i7di", "an image")
        name = cursor.name()
        n_features = cursor.count(f"features of image {name!r}", smallest=_FEATURE.itemsize)
        features = cursor.array(_FEATURE, n_features, "features")
        images.append(Image(name, np.array(pose[:4]), np.array(pose[4:]), camera, features["xy"], features["point"]))
    return images


def read_points(path: Path) -> Points3D:
    """The sparse points. Only the track lengths are walked in Python; the records are then read at once."""
    cursor = _Cursor(path)
    starts = np.empty(cursor.count("points", smallest=_POINT.itemsize), dtype=np.int64)
    for i in range(len(starts)):
        starts[i] = cursor.position
        cursor.skip(_POINT.itemsize - 8, "a point")
        cursor.skip(_TRACK_ENTRY * cursor.count("a point's track", smallest=_TRACK_ENTRY), "a track")
    data = np.frombuffer(cursor.data, dtype=np.uint8)
    records = data[starts[:, None] + np.arange(_POINT.itemsize)].reshape(-1).view(_POINT)
    return Points3D(records["id"].astype(np.int64), records["xyz"].astype(np.float64), records["rgb"].copy())


class _Cursor:
    """A position in a file's bytes that refuses to pass the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        try:
            self.data = path.read_bytes()
        except OSError as error:
            raise SceneFormatError(path, f"cannot be read: {error.strerror}") from error

    def skip(self, n_bytes: int, what: str) -> None:
        if n_bytes > len(self.data) - self.position:
            raise SceneFormatError(
                self.path, f"ends within {what} (at byte {len(self.data)}); it is truncated, copy it again"
            )
        self.position += n_bytes

    def unpack(self, layout: str, what: str) -> tuple:
        start = self.position
        self.skip(struct.calcsize(layout), what)
        return struct.unpack_from(layout, self.data, start)

    def array(self, dtype: np.dtype, n: int, what: str) -> np.ndarray:
        start = self.position
        self.skip(n * dtype.itemsize, what)
        return np.frombuffer(self.data, dtype, n, start)

    def count(self, what: str, smallest: int) -> int:
        """A u64 that the rest of the file can honour."""
        (n,) = self.unpack("<Q", f"the number of {what}")
        left = len(self.data) - self.position
        if n * smallest > left:
            raise SceneFormatError(
                self.path,
                f"claims {n} {what}, but the {left} bytes left hold at most {left // smallest}; "
                "it is damaged or truncated, copy it again",
            )
        return n

    def name(self) -> str:
        end = self.data.find(b"\0", self.position, self.position + _LONGEST_NAME)
        if end < 0:
            raise SceneFormatError(self.path, f"an image name at byte {self.position} has no end; it is damaged")
        text = self.data[self.position : end].decode("utf-8", errors="surrogateescape")
        self.position = end + 1
        return text
