"""How large a picture may be to be there in time: what pictures cost is learnt from those that were made."""

import math

TARGET = 1 / 16  # seconds of a picture while the camera moves
LEAST = 96 * 54  # pixels of the smallest
MOST = 1920 * 1080  # of the largest
STEP = 16  # pixels; widths are multiples of it, so that small changes of speed do not show
GROWTH = 1.6  # of the pixels from one picture to the next, at most
FORGET = 0.85  # weight of all earlier pictures, at each
_UNIT = 1e5  # pixels, so that both unknowns are of one size


class Resolution:
    """Follows `seconds = fixed + rate * pixels`, by least squares that forget.

    Args:
        start: Pixels of the first picture.
    """

    def __init__(self, start: int = 320 * 180) -> None:
        self._pixels = float(start)
        self._sums = [0.0] * 5  # of 1, p, p^2, s, p s

    def measured(self, pixels: int, seconds: float) -> None:
        """A picture of so many pixels took so long."""
        p = pixels / _UNIT
        for i, value in enumerate((1.0, p, p * p, seconds, p * seconds)):
            self._sums[i] = FORGET * self._sums[i] + value

    def seconds(self, pixels: float) -> float:
        """What a picture would take; 0 before any was made."""
        fixed, rate = self._line()
        return fixed + rate * pixels / _UNIT

    def within(self, seconds: float) -> int:
        """Pixels that can be made in a time; `LEAST` where that is too short for any."""
        fixed, rate = self._line()
        if rate <= 0:
            return round(self._pixels)
        return round(min(MOST, max(LEAST, (seconds - fixed) / rate * _UNIT)))

    def moving(self, full: int, seconds: float = TARGET) -> int:
        """Pixels of the next picture while the camera moves; `full` has them all."""
        wanted = self.within(seconds)
        self._pixels = min(max(wanted, self._pixels / GROWTH), self._pixels * GROWTH)
        return round(min(self._pixels, full))

    def _line(self) -> tuple[float, float]:
        n, p, pp, s, ps = self._sums
        if n == 0:
            return 0.0, 0.0
        spread = n * pp - p * p
        if spread > 1e-3 * n * pp:
            rate = (n * ps - p * s) / spread
            fixed = (s - rate * p) / n
            if rate > 0 and fixed >= 0:
                return fixed, rate
        return 0.0, s / p  # sizes too alike to tell, or noise: all of it by the pixel


def size_of(pixels: int, width: int, height: int) -> tuple[int, int]:
    """Width and height of about so many pixels, in the shape of a window and no larger than it."""
    scale = min(1.0, math.sqrt(pixels / (width * height)))
    if scale == 1.0:
        return width, height
    wide = min(width, max(STEP, round(width * scale / STEP) * STEP))
    return wide, min(height, max(2, round(height * wide / width)))
