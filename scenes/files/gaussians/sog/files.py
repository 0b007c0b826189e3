"""The files of a SOG scene: pictures and a `meta.json` side by side in a folder, or in a `.sog`, which is a zip."""

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from neural.errors import SceneFormatError
from neural.scenes.files.gaussians import guarded

META = "meta.json"
_MOST_META = 1 << 20  # bytes
_BROKEN_ZIP = (
    zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError, ValueError, OSError, struct.error,
)  # fmt: skip


class SogFiles:
    """Named files, each bounded in size before it is read.

    Args:
        path: A `.sog`, or the `meta.json` of a folder.

    Raises:
        SceneFormatError: It cannot be read, or is a zip only by name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.suffix.lower() == ".sog":
            try:
                self._zip = zipfile.ZipFile(io.BytesIO(guarded.read_bytes(path)))
            except _BROKEN_ZIP as error:
                raise SceneFormatError(path, f"is no SOG file or a damaged one ({error}); copy it again") from None

    def meta(self) -> dict[str, Any]:
        """What `meta.json` says, an object.

        Raises:
            SceneFormatError: Missing, too large, or no JSON object.
        """
        data = self.read(META if self._zip is not None else self.path.name)
        if len(data) > _MOST_META:
            raise SceneFormatError(self.path, f"has a meta.json of {len(data)} bytes, expected at most {_MOST_META}")
        return guarded.json_object(self.path, data, META)

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            SceneFormatError: Missing, damaged, unpacking to far more than it holds, or a name that leads elsewhere.
        """
        if not guarded.PLAIN_NAME.fullmatch(name):
            raise SceneFormatError(
                self.path, f"names the file {name!r}, expected a plain name beside meta.json; it is damaged or hostile"
            )
        if self._zip is None:
            return guarded.read_bytes(self.path.parent / name)
        try:
            info = self._zip.getinfo(name)
        except KeyError:
            raise SceneFormatError(self.path, f"holds no {name}; it is incomplete") from None
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise SceneFormatError(self.path, f"packs {name} in a way that SOG does not (kind {info.compress_type})")
        guarded.refuse_bomb(self.path, info.file_size, info.compress_size)
        try:
            with self._zip.open(info) as file:
                return file.read(info.file_size + 1)
        except _BROKEN_ZIP as error:
            raise SceneFormatError(self.path, f"holds a damaged {name} ({error}); copy it again") from None


def pixels(path: Path, name: str, data: bytes, least: int, most: int) -> UInt8[np.ndarray, "H W 4"]:
    """A lossless WebP, the number of whose pixels is checked before they are decoded.

    Raises:
        SceneFormatError: Another format, damaged, or with fewer or more pixels.
    """
    width, height = _size(data)
    if not least <= width * height <= most:
        raise SceneFormatError(
            path, f"has {width} x {height} pixels in {name}, expected a lossless WebP of {least} to {most}"
        )
    try:
        with Image.open(io.BytesIO(data), formats=("WEBP",)) as image:
            if image.size == (width, height):
                return np.asarray(image.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise SceneFormatError(path, f"holds a damaged picture {name} ({error}); copy it again") from None
    raise SceneFormatError(path, f"holds a picture {name} of two sizes; it is damaged")


def encoded(values: UInt8[np.ndarray, "H W 4"]) -> bytes:
    """A lossless WebP; pixels keep their colours where alpha is 0."""
    out = io.BytesIO()
    # more effort (method 4, quality 75) takes four times as long for 0.3 %
    Image.fromarray(values).save(out, "WEBP", lossless=True, exact=True, quality=20, method=2)
    return out.getvalue()


def bundled(files: dict[str, bytes], out: IO[bytes]) -> None:
    """Write a zip of files as they are, the same bytes whenever it is written."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as bundle:
        for name, data in files.items():
            bundle.writestr(zipfile.ZipInfo(name), data)


def _size(data: bytes) -> tuple[int, int]:
    """Width and height that a lossless or extended WebP says; 0 x 0 for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        if data[12:16] == b"VP8L" and data[20:21] == b"\x2f":
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        if data[12:16] == b"VP8X":
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return 0, 0
