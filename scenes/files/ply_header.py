"""Headers of PLY files: which elements a file says it has, and of what numbers their rows are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neural.errors import SceneFormatError

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
LONGEST_HEADER = 1 << 16
_MOST_PROPERTIES = 1024


@dataclass(frozen=True)
class Property:
    """A scalar, or a list when it has a type for its count."""

    name: str
    type: str
    count_type: str | None = None


@dataclass
class Element:
    name: str
    count: int
    properties: list[Property]

    def dtype(self, order: str) -> np.dtype:
        return np.dtype([(p.name, order + p.type) for p in self.properties])


def header_text(path: Path, data: bytes) -> tuple[str, int]:
    """The lines before `end_header`, and where the data begins."""
    if not data.startswith(b"ply"):
        raise SceneFormatError(path, "not a PLY file (it does not start with 'ply')")
    end = data.find(b"end_header", 0, LONGEST_HEADER)
    newline = data.find(b"\n", end) if end >= 0 else -1
    if newline < 0:
        raise SceneFormatError(path, f"no 'end_header' in the first {LONGEST_HEADER} bytes; it is damaged")
    return data[:end].decode("latin-1"), newline + 1


def header(path: Path, data: bytes) -> tuple[str, list[Element], int]:
    """Format, elements, and where the data begins."""
    text, start = header_text(path, data)
    form, elements = "", []
    for line in text.splitlines()[1:]:
        match line.split():
            case ["format", name, _]:
                form = name
            case ["element", name, count] if count.isascii() and count.isdigit() and len(count) < 19:
                elements.append(Element(name, int(count), []))
            case ["property", "list", count_type, item_type, name] if (
                elements and _TYPES.get(count_type, "f")[0] in "iu" and item_type in _TYPES
            ):
                elements[-1].properties.append(Property(name, _TYPES[item_type], _TYPES[count_type]))
            case ["property", kind, name] if elements and kind in _TYPES:
                elements[-1].properties.append(Property(name, _TYPES[kind]))
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise SceneFormatError(path, f"cannot read the header line {line.strip()[:80]!r}")
    if form not in ORDERS:
        raise SceneFormatError(path, f"format {form!r}, expected one of {', '.join(ORDERS)}")
    for current in elements:
        names = [p.name for p in current.properties]
        if not 0 < len(names) <= _MOST_PROPERTIES or len(set(names)) < len(names):
            raise SceneFormatError(path, f"element {current.name} has no, too many or repeated properties")
    return form, elements, start
