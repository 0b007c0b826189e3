"""PNG with 16 bits per colour channel, which Pillow would round to 8: through PyAV."""

import struct
from pathlib import Path

import numpy as np

from neural.errors import BackendUnavailable, SceneFormatError
from neural.scenes.pictures.source import Header, Source

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 4: 2, 6: 4}  # colour type -> channels; grey without alpha is Pillow's


def applies(path: Path) -> bool:
    """Whether it is such a file."""
    head = _head(path)
    return head is not None and head[2] == 16 and head[3] in _CHANNELS


def source(path: Path) -> Source:
    """A file of this kind.

    Raises:
        BackendUnavailable: PyAV is not installed.
    """
    head = _head(path)
    assert head is not None
    width, height, _, kind = head
    try:
        import av
    except ImportError as error:
        raise BackendUnavailable(
            f"{path}: colour of 16 bits in a PNG needs PyAV: pip install 'neural[video]', or convert the file to TIFF"
        ) from error
    channels = _CHANNELS[kind]
    header = Header(path, width, height, channels, "uint16", memory=16 * width * height)

    def fill(out: np.ndarray) -> None:
        try:
            with av.open(str(path)) as container:
                frame = next(container.decode(video=0))
                values = frame.to_ndarray(format="rgba64le" if channels in (2, 4) else "rgb48le")
        except (av.error.FFmpegError, StopIteration, ValueError) as error:
            raise SceneFormatError(
                path, f"damaged or truncated picture ({error}); copy it again from its source"
            ) from error
        out[:] = values[..., [0, 3]] if channels == 2 else values

    return Source(header, fill)


def _head(path: Path) -> tuple[int, int, int, int] | None:
    """Width, height, bits and colour type of a PNG."""
    with open(path, "rb") as file:
        start = file.read(26)
    if len(start) < 26 or start[:8] != _SIGNATURE or start[12:16] != b"IHDR":
        return None
    return struct.unpack(">IIBB", start[16:26])
