"""Arrays as pictures inside the page, and the error map."""

import base64
import io

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

MAX_SIDE = 1000
ERROR_AT_FULL = 0.25
"""Mean absolute error of a pixel's channels that gets the map's last colour; the same in every report."""
# Dark to bright, evenly spaced, even steps of lightness.
_ERROR_COLORS = np.array(
    [(8, 8, 20), (44, 20, 90), (108, 28, 110), (178, 44, 86), (230, 92, 46), (248, 164, 40), (252, 240, 164)]
)


def data_uri(image: UInt8[np.ndarray, "H W 3"], quality: int = 88) -> str:
    """A JPEG inside a `data:` address, made smaller where a side exceeds `MAX_SIDE` pixels."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, optimize=True)
    return embedded(buffer.getvalue(), "image/jpeg")


def embedded(data: bytes, kind: str) -> str:
    """Bytes as a `data:` address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def error_map(image: UInt8[np.ndarray, "H W 3"], target: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Mean absolute difference of the channels, in false colour."""
    difference = np.abs(image.astype(np.float64) - target.astype(np.float64)).mean(axis=2) / 255.0
    return false_color(difference / ERROR_AT_FULL)


def false_color(values: Float[np.ndarray, "*S"]) -> UInt8[np.ndarray, "*S 3"]:
    """Colours for values in [0, 1]; those outside get the first or last colour."""
    stops = np.linspace(0.0, 1.0, len(_ERROR_COLORS))
    channels = [np.interp(values, stops, _ERROR_COLORS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def error_gradient() -> str:
    """The map's colours as a CSS gradient, for the legend."""
    return "linear-gradient(90deg," + ",".join(f"rgb({r},{g},{b})" for r, g, b in _ERROR_COLORS) + ")"
