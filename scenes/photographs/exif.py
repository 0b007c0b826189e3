"""What a camera wrote beside the pixels: its name, the focal length, which way up it was held, where and when."""

import math
import struct
import warnings
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image

_FULL_FRAME_DIAGONAL = math.hypot(36.0, 24.0)  # mm; what "35 mm equivalent" refers to (CIPA DCG-001)
_UNITS = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # FocalPlaneResolutionUnit -> mm
_MAX_TEXT = 100  # characters of a name that are believed


@dataclass(frozen=True)
class Exif:
    """The few fields that cameras are reconstructed with; each None where the file does not say.

    Attributes:
        make: Of the camera.
        model: Of the camera.
        focal_mm: Focal length; tells zoom settings apart.
        focal: In pixels of the stored picture.
        orientation: 1 to 8: how the stored picture is to be turned to be upright; 1 where nothing is said.
        gps: Latitude and longitude in degrees (WGS 84), height in metres or NaN.
        taken: Date and time as the camera wrote it.
    """

    make: str | None = None
    model: str | None = None
    focal_mm: float | None = None
    focal: float | None = None
    orientation: int = 1
    gps: tuple[float, float, float] | None = None
    taken: str | None = None


def read(image: Image.Image) -> Exif:
    """EXIF of an opened picture; fields that are damaged count as absent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of damage
        try:
            return _read(image)
        except (OSError, ValueError, SyntaxError, KeyError, TypeError, EOFError, struct.error):
            return Exif()


def _read(image: Image.Image) -> Exif:
    base = Image.Image.getexif(image)
    details = base.get_ifd(ExifTags.IFD.Exif)
    place = base.get_ifd(ExifTags.IFD.GPSInfo)
    orientation = base.get(ExifTags.Base.Orientation, 1)
    focal_mm = _number(details.get(ExifTags.Base.FocalLength))
    return Exif(
        make=_text(base.get(ExifTags.Base.Make)),
        model=_text(base.get(ExifTags.Base.Model)),
        focal_mm=focal_mm,
        focal=_focal(details, focal_mm, image.width, image.height),
        orientation=orientation if orientation in range(1, 9) else 1,
        gps=_gps(place),
        taken=_text(details.get(ExifTags.Base.DateTimeOriginal) or base.get(ExifTags.Base.DateTime)),
    )


def _focal(details: Any, focal_mm: float | None, width: int, height: int) -> float | None:
    """Focal length in pixels: from the sensor's pitch where that is stated, else from the 35 mm equivalent.

    The pitch is that of the picture as it was taken (`ExifImageWidth`), which editors keep when they make it smaller.
    """
    longer = max(width, height)
    pitch = _number(details.get(ExifTags.Base.FocalPlaneXResolution))
    unit = _UNITS.get(details.get(ExifTags.Base.FocalPlaneResolutionUnit, 2))
    sides = [_number(details.get(tag)) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    focal = None
    if focal_mm and pitch and unit and sides[0] and sides[1]:
        sensor = max(sides[0], sides[1]) * unit / pitch  # mm, the longer side
        focal = focal_mm / sensor * longer if 1.0 < sensor < 100.0 else None
    if focal is None:
        equivalent = _number(details.get(ExifTags.Base.FocalLengthIn35mmFilm))
        if equivalent:
            focal = equivalent / _FULL_FRAME_DIAGONAL * math.hypot(width, height)
    return focal if focal is not None and 0.2 * longer < focal < 50 * longer else None


def _gps(place: Any) -> tuple[float, float, float] | None:
    latitude = _degrees(place.get(ExifTags.GPS.GPSLatitude), place.get(ExifTags.GPS.GPSLatitudeRef), "S", 90)
    longitude = _degrees(place.get(ExifTags.GPS.GPSLongitude), place.get(ExifTags.GPS.GPSLongitudeRef), "W", 180)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):  # 0, 0: no fix
        return None
    height = _number(place.get(ExifTags.GPS.GPSAltitude), signed=True)
    if height is not None and place.get(ExifTags.GPS.GPSAltitudeRef) in (1, b"\x01"):
        height = -height
    return latitude, longitude, math.nan if height is None or abs(height) > 1e5 else height


def _degrees(value: Any, reference: Any, negative: str, limit: float) -> float | None:
    if not isinstance(value, tuple) or len(value) != 3:
        return None
    parts = [_number(part) for part in value]
    if parts[0] is None:
        return None
    degrees = parts[0] + (parts[1] or 0.0) / 60 + (parts[2] or 0.0) / 3600
    if degrees > limit:
        return None
    return -degrees if _text(reference) == negative else degrees


def _number(value: Any, *, signed: bool = False) -> float | None:
    """A finite number, not negative unless `signed`; 0 / 0 and other damage is None."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) and (signed or number >= 0) else None


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if not isinstance(value, str):
        return None
    return "".join(c for c in value if c.isprintable()).strip()[:_MAX_TEXT] or None
