"""Words for where a scene lies, as comments of `.ply` files and members of JSON objects; what is usual is not said.

`axes` (where they are not the format's own), `metres_per_unit`, `crs`, `offset`. Programs that do not know these words
pass them over.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neural.errors import SceneFormatError
from neural.scenes.files.gaussians.axes import NAMES, Axes, is_mirror
from neural.scenes.files.gaussians.record import Placement

WORDS = ("axes", "metres_per_unit", "crs", "offset")


def described(placement: Placement, axes: Axes, usual: Axes) -> dict[str, Any]:
    """What a file says of itself, as JSON has it.

    Args:
        placement: Of the record, in the axes of the file.
        axes: Of the file.
        usual: The format's own, which need not be said.
    """
    said: dict[str, Any] = {} if axes == usual else {"axes": axes}
    if placement.metres_per_unit is not None:
        said["metres_per_unit"] = placement.metres_per_unit
    if placement.crs is not None:
        said["crs"] = placement.crs
    if any(placement.offset):
        said["offset"] = list(placement.offset)
    return said


def understood(path: Path, said: Mapping[str, Any], usual: Axes) -> tuple[Placement, Axes]:
    """The inverse of `described`; of words that are not there nothing is known.

    The placement keeps axes that are said, unless they mirror: then nothing but RDF can be turned or looked at.

    Raises:
        SceneFormatError: A word with a value that it cannot have.
    """
    axes = said.get("axes", usual)
    if not isinstance(axes, str) or axes not in NAMES:
        raise SceneFormatError(path, f"has axes {str(axes)[:20]!r}, expected three letters such as RDF or RUB")
    length, crs, offset = said.get("metres_per_unit"), said.get("crs"), said.get("offset", (0.0, 0.0, 0.0))
    if not isinstance(offset, list | tuple) or not all(_is_number(x) for x in offset):
        raise SceneFormatError(path, f"has an offset {str(offset)[:40]!r}, expected three numbers")
    if not (length is None or _is_number(length)) or not (crs is None or isinstance(crs, str)):
        raise SceneFormatError(path, f"has metres_per_unit {str(length)[:20]!r} and crs {str(crs)[:20]!r}; remove them")
    own = axes if "axes" in said and not is_mirror((axes, "RDF")) else "RDF"
    try:
        return Placement(length if length is None else float(length), crs, tuple(float(x) for x in offset), own), axes  # type: ignore[arg-type]
    except ValueError as error:
        raise SceneFormatError(path, str(error)) from None


def comments(said: Mapping[str, Any]) -> list[str]:
    """Lines for a header, a word and its value each."""
    return [
        f"{word} {' '.join(map(repr, value)) if isinstance(value, list) else value}" for word, value in said.items()
    ]


def from_comments(path: Path, lines: Sequence[str]) -> dict[str, Any]:
    """What such lines say; others are passed over.

    Raises:
        SceneFormatError: A number that is none.
    """
    said: dict[str, Any] = {}
    for line in lines:
        word, _, value = line.partition(" ")
        try:
            if word == "metres_per_unit":
                said[word] = float(value)
            elif word == "offset":
                said[word] = [float(x) for x in value.split()]
            elif word in WORDS:
                said[word] = value.strip()
        except ValueError:
            raise SceneFormatError(path, f"comment {line[:60]!r} holds something else than numbers") from None
    return said


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
