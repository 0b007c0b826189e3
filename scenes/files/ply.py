"""PLY files, ascii and binary: one element as a structured array, one list property of an element, and point clouds.

Format: Turk 1994, "The PLY polygon file format". Every count is checked against the bytes that follow the
header before anything is allocated for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from neural.atomic import replacing
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
_NAMES = {"u1": "uchar", "u4": "uint", "f4": "float", "f8": "double"}  # of what is written
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_CHANNELS = ("red", "green", "blue")
_LONGEST_HEADER = 1 << 16
_MOST_PROPERTIES = 1024
_AHEAD = 64  # rows that are tried at first as laid out like the one before them


@dataclass(frozen=True)
class _Property:
    """A scalar, or a list when it has a type for its count."""

    name: str
    type: str
    count_type: str | None = None


@dataclass
class _Element:
    name: str
    count: int
    properties: list[_Property]

    def dtype(self, order: str) -> np.dtype:
        return np.dtype([(p.name, order + p.type) for p in self.properties])


def read_points(path: Path) -> tuple[Float64[np.ndarray, "P 3"], UInt8[np.ndarray, "P 3"]]:
    """Positions and sRGB colours of a point cloud; grey if the file has no colours.

    Raises:
        SceneFormatError: Not a PLY file, damaged, or without x y z.
    """
    vertices = read(path, "vertex")
    names = vertices.dtype.names or ()
    if not {"x", "y", "z"} <= set(names):
        raise SceneFormatError(path, f"element vertex has properties {list(names)}, expected x, y and z")
    xyz = np.stack([vertices[axis].astype(np.float64) for axis in "xyz"], axis=-1)
    for red, green, blue in (
        ("red", "green", "blue"),
        ("r", "g", "b"),
        ("diffuse_red", "diffuse_green", "diffuse_blue"),
    ):
        if {red, green, blue} <= set(names):
            rgb = np.stack([vertices[c] for c in (red, green, blue)], axis=-1)
            if rgb.dtype.kind == "f":  # colours as fractions
                rgb = np.nan_to_num(rgb) * 255 + 0.5
            elif rgb.dtype.itemsize == 2 and rgb.max(initial=0) > 255:
                rgb = rgb // 257
            return xyz, rgb.clip(0, 255).astype(np.uint8)
    return xyz, np.full(xyz.shape, 128, dtype=np.uint8)


def write_points(path: Path, xyz: Float64[np.ndarray, "P 3"], rgb: UInt8[np.ndarray, "P 3"]) -> None:
    """Write a binary point cloud, to a temporary name first."""
    rows = np.empty(len(xyz), dtype=[*((axis, "<f8") for axis in "xyz"), *((c, "u1") for c in _CHANNELS)])
    for i, axis in enumerate("xyz"):
        rows[axis] = xyz[:, i]
    for i, channel in enumerate(_CHANNELS):
        rows[channel] = rgb[:, i]
    write(path, rows)


def write(path: Path, rows: np.ndarray, comments: Sequence[str] = ()) -> None:
    """Write a structured array of little-endian numbers as the element `vertex`, to a temporary name first."""
    write_elements(path, {"vertex": rows}, comments)


def write_elements(path: Path, elements: dict[str, np.ndarray], comments: Sequence[str] = ()) -> None:
    """Write structured arrays of little-endian numbers as elements of those names, to a temporary name first."""
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {line}" for line in comments)]
    for element, rows in elements.items():
        lines += [f"element {element} {len(rows)}"]
        for name in rows.dtype.names or ():
            lines.append(f"property {_NAMES[rows.dtype[name].str.lstrip('<|')]} {name}")
    with replacing(path) as file:
        file.write("\n".join([*lines, "end_header\n"]).encode())
        for rows in elements.values():
            file.write(np.ascontiguousarray(rows).data)


def write_mesh(path: Path, vertices: Float64[np.ndarray, "V 3"], faces: Int64[np.ndarray, "F 3"]) -> None:
    """Write corners (float) and triangles, binary, to a temporary name first."""
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header\n"]
    rows = np.empty(len(faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    rows["count"], rows["corners"] = 3, faces
    with replacing(path) as file:
        file.write("\n".join(lines).encode())
        file.write(vertices.astype("<f4").tobytes())
        file.write(rows.tobytes())


def read(path: Path, element: str) -> np.ndarray:
    """One element as a structured array with a field per property.

    Args:
        path: The file.
        element: Its name; it may have no list properties, elements before it may.

    Raises:
        SceneFormatError: Not a PLY file, the element is missing, or the file is shorter than its header says.
    """
    data = _bytes(path)
    form, current, start, last = _find(path, data, element)
    if any(p.count_type for p in current.properties):
        raise SceneFormatError(path, f"element {element} has list properties; write plain numbers")
    rows, end = (_ascii if form == "ascii" else _binary)(path, data, start, current, form, True)
    assert rows is not None
    if last:
        _refuse_rest(path, data, end, current)
    return rows


def read_lists(path: Path, element: str, names: Sequence[str]) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "M"]]:
    """One property of an element whose rows hold lists of whole numbers, such as the corners of faces.

    Args:
        path: The file.
        element: Its name.
        names: Of the property; the first that the element has is taken.

    Returns:
        How long the list of each row is, and all of them after one another.

    Raises:
        SceneFormatError: As `read`, or the element has no such property.
    """
    data = _bytes(path)
    form, current, start, last = _find(path, data, element)
    lists = [p.name for p in current.properties if p.count_type and p.type[0] in "iu"]
    name = next((name for name in names if name in lists), None)
    if name is None:
        raise SceneFormatError(path, f"element {element} has the lists {lists}, expected {' or '.join(names)}")
    if form == "ascii":
        lines, end = _lines(path, data, start, current)
        counts, values = _ascii_lists(path, lines, current, name)
    else:
        counts, values, end = _binary_lists(path, data, start, current, form, name)
    if last:
        _refuse_rest(path, data, end, current)
    return counts, values


def read_layout(path: Path) -> dict[str, tuple[int, tuple[str, ...]]]:
    """What the header says: for each element its number of rows and the names of its properties.

    Raises:
        SceneFormatError: Not a PLY file, or a header that cannot be read.
    """
    elements = _header(path, _bytes(path, _LONGEST_HEADER + 2))[1]
    return {e.name: (e.count, tuple(p.name for p in e.properties)) for e in elements}


def read_comments(path: Path) -> list[str]:
    """The comments of the header, in order, each without the word `comment`.

    Raises:
        SceneFormatError: Not a PLY file, or one without the end of its header.
    """
    lines = _header_text(path, _bytes(path, _LONGEST_HEADER + 2))[0].splitlines()
    return [line.strip().removeprefix("comment").strip() for line in lines if line.split()[:1] == ["comment"]]


def _find(path: Path, data: bytes, element: str) -> tuple[str, _Element, int, bool]:
    """The format, an element, where its rows begin, and whether nothing comes after it."""
    form, elements, start = _header(path, data)
    for current in elements:
        if current.name == element:
            return form, current, start, current is elements[-1]
        _, start = (_ascii if form == "ascii" else _binary)(path, data, start, current, form, False)
    raise SceneFormatError(path, f"has elements {[e.name for e in elements]}, expected {element}")


def _bytes(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise SceneFormatError(path, f"cannot be read: {error.strerror}") from error


def _header_text(path: Path, data: bytes) -> tuple[str, int]:
    """The lines before `end_header`, and where the data begins."""
    if not data.startswith(b"ply"):
        raise SceneFormatError(path, "not a PLY file (it does not start with 'ply')")
    end = data.find(b"end_header", 0, _LONGEST_HEADER)
    newline = data.find(b"\n", end) if end >= 0 else -1
    if newline < 0:
        raise SceneFormatError(path, f"no 'end_header' in the first {_LONGEST_HEADER} bytes; it is damaged")
    return data[:end].decode("latin-1"), newline + 1


def _header(path: Path, data: bytes) -> tuple[str, list[_Element], int]:
    """Format, elements, and where the data begins."""
    text, start = _header_text(path, data)
    form, elements = "", []
    for line in text.splitlines()[1:]:
        match line.split():
            case ["format", name, _]:
                form = name
            case ["element", name, count] if count.isascii() and count.isdigit() and len(count) < 19:
                elements.append(_Element(name, int(count), []))
            case ["property", "list", count_type, item_type, name] if (
                elements and _TYPES.get(count_type, "f")[0] in "iu" and item_type in _TYPES
            ):
                elements[-1].properties.append(_Property(name, _TYPES[item_type], _TYPES[count_type]))
            case ["property", kind, name] if elements and kind in _TYPES:
                elements[-1].properties.append(_Property(name, _TYPES[kind]))
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise SceneFormatError(path, f"cannot read the header line {line.strip()[:80]!r}")
    if form not in _ORDERS:
        raise SceneFormatError(path, f"format {form!r}, expected one of {', '.join(_ORDERS)}")
    for current in elements:
        names = [p.name for p in current.properties]
        if not 0 < len(names) <= _MOST_PROPERTIES or len(set(names)) < len(names):
            raise SceneFormatError(path, f"element {current.name} has no, too many or repeated properties")
    return form, elements, start


def _binary(
    path: Path, data: bytes, start: int, element: _Element, form: str, wanted: bool
) -> tuple[np.ndarray | None, int]:
    """Rows of a binary element (None if only skipped), and where the next one begins."""
    order = _ORDERS[form]
    if not any(p.count_type for p in element.properties):
        dtype = element.dtype(order)
        end = start + element.count * dtype.itemsize
        if end > len(data):
            raise _short(path, element, (len(data) - start) // dtype.itemsize)
        return np.frombuffer(data, dtype, element.count, start) if wanted else None, end
    for row in range(element.count):
        for p in element.properties:
            length = 1
            if p.count_type:
                counter = np.dtype(order + p.count_type)
                if start + counter.itemsize > len(data):
                    raise _short(path, element, row)
                length = int(np.frombuffer(data, counter, 1, start)[0])
                start += counter.itemsize
            start += length * np.dtype(p.type).itemsize
            if length < 0 or start > len(data):
                raise _short(path, element, row)
    return None, start


def _ascii(
    path: Path, data: bytes, start: int, element: _Element, form: str, wanted: bool
) -> tuple[np.ndarray | None, int]:
    """Rows of a text element (None if only skipped), and where the next one begins."""
    rows, start = _lines(path, data, start, element)
    if not wanted:
        return None, start
    width = len(element.properties)
    dtype = element.dtype("")
    table = np.empty((len(rows), width), dtype=np.float64)
    for i, line in enumerate(rows):
        words = line.split()
        try:
            if len(words) != width:
                raise ValueError
            table[i] = np.array(words, dtype=np.float64)
        except ValueError:
            raise SceneFormatError(
                path, f"row {i} of element {element.name} is {line[:60]!r}, expected {width} numbers"
            ) from None
    result = np.empty(len(rows), dtype)
    for i, p in enumerate(element.properties):
        column = table[:, i]
        if dtype[p.name].kind in "iu":
            limits = np.iinfo(dtype[p.name])
            column = np.nan_to_num(column).clip(limits.min, limits.max)
        with np.errstate(over="ignore"):
            result[p.name] = column
    return result, start


def _lines(path: Path, data: bytes, start: int, element: _Element) -> tuple[list[bytes], int]:
    """The lines of a text element, one a row, and where the next begins; their number bounds what is allocated."""
    width = len(element.properties)
    if element.count * 2 * width > len(data) - start + 1:  # a digit and a separator per number
        raise _short(path, element, (len(data) - start + 1) // (2 * width))
    rows: list[bytes] = []
    while len(rows) < element.count:
        if start >= len(data):
            raise _short(path, element, len(rows))
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        line = data[start:end].strip()
        if line:
            rows.append(line)
        start = end + 1
    return rows, start


def _binary_lists(
    path: Path, data: bytes, start: int, element: _Element, form: str, name: str
) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "M"], int]:
    """How long lists are, what they hold, and where the next element begins."""
    order = _ORDERS[form]
    counts = np.empty(element.count if element.count <= len(data) - start else 0, np.int64)
    if len(counts) < element.count:  # a list takes a byte at least
        raise _short(path, element, len(data) - start)
    parts: list[np.ndarray] = []
    row, ahead = 0, _AHEAD
    while row < element.count:
        # the layout of this row is most often that of many that follow
        fields: list[tuple[str, str, int]] = []
        at = start
        for p in element.properties:
            length = 1
            if p.count_type:
                counter = np.dtype(order + p.count_type)
                if at + counter.itemsize > len(data):
                    raise _short(path, element, row)
                length = int(np.frombuffer(data, counter, 1, at)[0])
                fields.append((f"{p.name} counted", counter.str, 1))
                at += counter.itemsize
            fields.append((p.name, order + p.type, length))
            at += length * np.dtype(p.type).itemsize
            if length < 0 or at > len(data):
                raise _short(path, element, row)
        dtype = np.dtype([(field, kind, (length,)) for field, kind, length in fields])
        most = min(element.count - row, ahead, (len(data) - start) // dtype.itemsize)
        rows = np.frombuffer(data, dtype, most, start)
        same = np.ones(len(rows), bool)
        for (field, _, _), (_, _, length) in pairwise(fields):
            if field.endswith(" counted"):
                same &= rows[field][:, 0] == length
        run = len(rows) if same.all() else int(same.argmin())
        counts[row : row + run] = dtype[name].shape[0]
        parts.append(rows[name][:run].astype(np.int64).ravel())
        row, start, ahead = row + run, start + run * dtype.itemsize, 4 * ahead if run == most else _AHEAD
    return counts, np.concatenate([np.zeros(0, np.int64), *parts]), start


def _ascii_lists(
    path: Path, lines: list[bytes], element: _Element, name: str
) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "M"]]:
    counts: list[int] = []
    values: list[int] = []
    for row, line in enumerate(lines):
        words, at = line.split(), 0
        try:
            for p in element.properties:
                length = int(words[at]) if p.count_type else 1
                at += 1 if p.count_type else 0
                if length < 0 or at + length > len(words):
                    raise IndexError
                if p.name == name:
                    counts.append(length)
                    values += map(int, words[at : at + length])
                at += length
            if at < len(words):
                raise ValueError
        except (ValueError, IndexError):
            raise SceneFormatError(
                path, f"row {row} of element {element.name} is {line[:60]!r}, expected whole numbers in lists"
            ) from None
    try:
        return np.array(counts, np.int64), np.array(values, np.int64)
    except OverflowError:
        raise SceneFormatError(path, f"element {element.name} holds a number beyond 64 bits") from None


def _refuse_rest(path: Path, data: bytes, end: int, element: _Element) -> None:
    """Raises if the file goes on behind its last element as if that had more rows."""
    if len(data[end:].strip(b"\0 \t\r\n")) > 2 * len(element.properties):  # more than a stray mark or two
        raise SceneFormatError(
            path,
            f"goes on for {len(data) - end} bytes after the {element.count} rows that its header claims for element "
            f"{element.name}; the count is wrong, write the file again",
        )


def _short(path: Path, element: _Element, found: int) -> SceneFormatError:
    return SceneFormatError(
        path,
        f"element {element.name} claims {element.count} rows but the file holds only {found}; "
        "it is truncated, copy it again",
    )
