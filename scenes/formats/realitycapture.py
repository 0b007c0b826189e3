"""RealityCapture's (RealityScan's) "Internal/External camera parameters" CSV.

    #name, x, y, alt, heading, pitch, roll, f, px, py, k1, k2, k3, k4, t1, t2
    #name, x, y, alt, yaw, pitch, roll, f_35mm, px_norm, py_norm, ...         since RealityScan 2

x y alt are the camera's place (east, north, up). Angles are degrees: a camera with all at 0 looks straight down with
the image's top to the north; it is rolled about its y axis, pitched about x, then turned clockwise by heading, so that
c2w = Rz(-heading) Rx(pitch) Ry(roll) with OpenGL axes. `f` is for a sensor 36 mm wide along the image's longer side,
of which px py are parts, from the middle. Radial k1 k2 k3 and tangential t1 t2 are Brown's; OpenCV's p1 p2 are t2 t1,
as the program's own template for OpenCV writes them.

Source: the program's `calibration.xml`, templates "Internal/External Camera Parameters" and its OpenCV-compliant form;
nerfstudio `realitycapture_utils.py` for the order of the angles.
"""

import csv
import io
from pathlib import Path
from typing import Literal

import numpy as np

from neural.errors import SceneFormatError
from neural.scenes.capture import Capture
from neural.scenes.formats.fields import numbers, read_text
from neural.scenes.formats.named import Photographs
from neural.scenes.formats.views import OPENCV_FROM_OPENGL, UNSEEN, Lens, View, capture, size_of

_NEEDED = ("name", "x", "y", "alt", "heading", "pitch", "roll", "f")
_OPTIONAL = ("px", "py", "k1", "k2", "k3", "k4", "t1", "t2")
_RENAMED = {"yaw": "heading", "f_35mm": "f", "px_norm": "px", "py_norm": "py"}
_DEGREES = 0.05  # the widest spread of places that are taken for degrees, if they are so much apart in height


def found_in(path: Path) -> tuple[Path, ...]:
    """The CSV files with these columns, if `path` is one or a folder that holds some."""
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path] if path.suffix.lower() == ".csv" else []
    return tuple(file for file in files if file.is_file() and set(_NEEDED) <= set(_columns(_first_line(file))))


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read all rows and find their photographs.

    Args:
        path: The CSV file, or the folder that holds one.
        downscale: Of no meaning here; the format has no reduced folders.
        missing: What to do about rows whose photograph is not there.

    Raises:
        SceneFormatError: Names file, row and column; or a lens that we do not have.
    """
    source = found_in(path)[0]
    header, *lines = [line for line in read_text(source).splitlines() if line.strip()]
    columns = _columns(header)
    rows = [_row(source, columns, number, line) for number, line in enumerate(lines, start=2)]
    _refuse_degrees(source, np.array([[value[key] for key in ("x", "y", "alt")] for _, value in rows]).reshape(-1, 3))
    kept, images, warnings = Photographs(source).existing([name for name, _ in rows], "name", missing)
    views = []
    for i in kept:
        name, value = rows[i]
        size = size_of(images[i])
        views.append(View(name, images[i], _pose(value), size, _lens(source, name, value, size)))
    return capture(source, views, unbounded=True, warnings=warnings)


def _first_line(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.readline(4096).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""


def _columns(line: str) -> list[str]:
    words = [word.strip().lstrip("#").lower() for word in line.split(",")]
    return [_RENAMED.get(word, word) for word in words]


def _row(source: Path, columns: list[str], number: int, line: str) -> tuple[str, dict[str, float]]:
    try:
        words = next(csv.reader(io.StringIO(line)), [])
    except csv.Error as error:
        raise SceneFormatError(source, f"line {number}: {error}; export it again") from error
    if len(words) != len(columns):
        raise SceneFormatError(
            source, f"line {number} has {len(words)} fields for {len(columns)} columns; was it cut off?"
        )
    fields = dict(zip(columns, words, strict=True))
    names = [name for name in (*_NEEDED[1:], *_OPTIONAL) if name in fields]
    values = numbers(source, [fields[name] for name in names], f"line {number}")
    if not (np.abs(values) < 1e12).all():  # False for NaN
        wrong = names[int(np.argmin(np.abs(values) < 1e12))]
        raise SceneFormatError(source, f"line {number}: {wrong} is {fields[wrong][:40]}; export it again")
    return fields["name"].strip(), dict.fromkeys(_OPTIONAL, 0.0) | dict(zip(names, values.tolist(), strict=True))


def _refuse_degrees(source: Path, places: np.ndarray) -> None:
    """Longitude and latitude beside heights in metres: all in one spot, but far up, and nowhere near the origin."""
    if len(places) < 2:
        return
    spread = np.ptp(places[:, :2], axis=0).max()
    middle = np.abs(places).mean(axis=0)
    if spread < _DEGREES and middle[0] < 180 and middle[1] < 90 and middle[:2].max() > 1 and middle[2] > 100 * spread:
        raise SceneFormatError(
            source,
            f"x and y vary by {spread:.3g} at heights of {middle[2]:.3g}: they seem to be degrees; export with a local "
            "or projected coordinate system",
        )


def _pose(value: dict[str, float]) -> np.ndarray:
    (ch, sh), (cp, sp), (cr, sr) = (
        (np.cos(angle), np.sin(angle)) for angle in np.radians([value["heading"], value["pitch"], value["roll"]])
    )
    turn = np.array([[ch, sh, 0], [-sh, ch, 0], [0, 0, 1]])  # by -heading
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    c2w = np.eye(4)
    c2w[:3, :3] = turn @ pitch @ roll
    c2w[:3, 3] = value["x"], value["y"], value["alt"]
    return c2w * OPENCV_FROM_OPENGL


def _lens(source: Path, name: str, value: dict[str, float], size: tuple[int, int]) -> Lens:
    longer = max(size)
    focal = value["f"] * longer / 36
    reach = np.hypot(*size) / 2 / max(abs(focal), 1e-9)
    with np.errstate(over="ignore"):
        moved = abs(value["k4"] * focal) * reach**9
    if not moved < UNSEEN:
        raise SceneFormatError(
            source,
            f"image {name!r}: k4 moves pixels by up to {moved:.3g}, which our lenses cannot say; use model Brown3, or "
            "export undistorted images",
        )
    middle = (size[0] / 2 + value["px"] * longer, size[1] / 2 + value["py"] * longer)
    return Lens.opencv(focal, focal, *middle, *(value[k] for k in ("k1", "k2", "t2", "t1", "k3")))
