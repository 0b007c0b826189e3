"""What the reconstruction of cameras can be told, and what is chosen where it is told nothing. No torch."""

from dataclasses import dataclass
from typing import Literal

SMALLER = ((40, 2000), (150, 1600), (500, 1280))  # up to so many photographs: pixels of the longer side
SMALLEST_SIDE = 1000  # of more than that


@dataclass(frozen=True)
class CameraSettings:
    """How cameras are found from photographs."""

    share: Literal["auto", "one", "each"] = "auto"
    """Which photographs share a lens: those of one make, model, zoom and size ("auto"), of one size ("one"), or none
    ("each")."""
    matching: Literal["auto", "exhaustive", "sequential", "spatial"] = "auto"
    """Which are compared: all with all, neighbours by name, neighbours by GPS; "auto": by GPS where there is
    one and more than 60 photographs, else all with all up to 100 (40 frames of a video), others by name."""
    mapping: Literal["auto", "global", "incremental"] = "auto"
    """How poses are found: all at once or one after the other; "auto": all at once, then the other way if photographs
    are missing."""
    max_side: int | None = None
    """Pixels of the longer side at which features are looked for; 2000 for up to 40 photographs, 1000 above 500."""
    gps: bool = True
    """Metres, a place on the Earth and neighbours from the GPS in EXIF, where it is written."""
    weed: bool = True
    """Leave out blurred photographs and those that show the same picture."""
    frames: int | None = None
    """Of a video: how many frames are picked; two a second, 40 to 300."""

    def __post_init__(self) -> None:
        if self.max_side is not None and not 200 <= self.max_side <= 20_000:
            raise ValueError(f"--max-side must be between 200 and 20000, got {self.max_side}")
        if self.frames is not None and not 3 <= self.frames <= 5000:
            raise ValueError(f"--frames must be between 3 and 5000, got {self.frames}")

    def side(self, n: int) -> int:
        """Pixels of the longer side for `n` photographs."""
        if self.max_side is not None:
            return self.max_side
        return next((side for most, side in SMALLER if n <= most), SMALLEST_SIDE)
