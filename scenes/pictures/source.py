"""What every reader of picture files gives: a header without decoding, then the pixels into an array of the right size.

Values are stored as the file has them: uint8 and uint16 in sRGB, float32 in linear light. Channels are one of grey
or three of colour, then alpha (straight) if there is any. Rows from the top.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from neural.errors import SceneFormatError

LARGEST_SIDE = 1 << 22  # pixels; beyond it a header is not believed

Fill = Callable[[Shaped[np.ndarray, "H W C"]], None]


@dataclass(frozen=True)
class Header:
    """What a file says before it is decoded."""

    path: Path
    width: int
    height: int
    channels: int
    """1 or 3, and 1 more with alpha."""
    dtype: str
    """uint8, uint16 or float32."""
    linear: bool = False
    """Whether values are linear light; sRGB otherwise."""
    memory: int = 0
    """Bytes that decoding takes beside the array that it fills."""
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (1 <= self.width <= LARGEST_SIDE and 1 <= self.height <= LARGEST_SIDE):
            raise SceneFormatError(
                self.path, f"width and height are {self.width} x {self.height}, expected 1 to {LARGEST_SIDE}"
            )

    @property
    def alpha(self) -> bool:
        """Whether there is an alpha channel."""
        return self.channels in (2, 4)

    @property
    def n_bytes(self) -> int:
        """Of the decoded pixels."""
        return self.width * self.height * self.channels * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Source:
    """A picture file that can be decoded.

    Attributes:
        header: What it holds.
        fill: Writes all pixels into an array [H, W, C] of the header's type.
        mapped: The pixels as they lie in the file, where they do so plainly; no cache is needed then.
    """

    header: Header
    fill: Fill
    mapped: Shaped[np.ndarray, "H W C"] | None = None
