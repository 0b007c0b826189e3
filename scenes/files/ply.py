"""PLY files, ascii and binary: one element as a structured array, one list property of an element, and point clouds.

Format: Turk 1994, "The PLY polygon file format". Every count is checked against the bytes that follow the
header before anything is allocated for it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from neural.atomic import replacing
from neural.errors import SceneFormatError
from neural.scenes.files.ply_header import LONGEST_HEADER, Element, header, header_text
from neural.scenes.files.ply_rows import binary_lists, binary_rows, refuse_rest, text_lines, text_lists, text_rows

_NAMES = {"u1": "uchar", "u4": "uint", "f4": "float", "f8": "double"}  # of what is written
_CHANNELS = ("red", "green", "blue")


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


def write_points(
    path: Path,
    xyz: Float64[np.ndarray, "P 3"],
    rgb: UInt8[np.ndarray, "P 3"],
    *,
    normals: Float64[np.ndarray, "P 3"] | None = None,
) -> None:
    """Write a binary point cloud, to a temporary name first."""
    sides = [] if normals is None else [(f"n{axis}", "<f4") for axis in "xyz"]
    rows = np.empty(len(xyz), dtype=[*((axis, "<f8") for axis in "xyz"), *sides, *((c, "u1") for c in _CHANNELS)])
    for i, axis in enumerate("xyz"):
        rows[axis] = xyz[:, i]
        if normals is not None:
            rows[f"n{axis}"] = normals[:, i]
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


def write_mesh(
    path: Path,
    vertices: Float64[np.ndarray, "V 3"],
    faces: Int64[np.ndarray, "F 3"],
    rgb: UInt8[np.ndarray, "V 3"] | None = None,
) -> None:
    """Write corners (float, or double where float has fewer than five digits of the mesh's size) and triangles."""
    size = float(np.ptp(vertices, axis=0).max()) if len(vertices) else 1.0
    coarse = len(vertices) and np.spacing(np.float32(np.abs(vertices).max())) > 1e-5 * size
    fields = [(axis, "<f8" if coarse else "<f4") for axis in "xyz"]
    corners = np.empty(len(vertices), dtype=fields + [(c, "u1") for c in _CHANNELS if rgb is not None])
    for i, axis in enumerate("xyz"):
        corners[axis] = vertices[:, i]
    for i, channel in enumerate(_CHANNELS if rgb is not None else ()):
        assert rgb is not None
        corners[channel] = rgb[:, i]
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    for name in corners.dtype.names or ():
        lines.append(f"property {_NAMES[corners.dtype[name].str.lstrip('<|')]} {name}")
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header\n"]
    rows = np.empty(len(faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    rows["count"], rows["corners"] = 3, faces
    with replacing(path) as file:
        file.write("\n".join(lines).encode())
        file.write(corners.tobytes())
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
    rows, end = (text_rows if form == "ascii" else binary_rows)(path, data, start, current, form, True)
    assert rows is not None
    if last:
        refuse_rest(path, data, end, current)
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
        lines, end = text_lines(path, data, start, current)
        counts, values = text_lists(path, lines, current, name)
    else:
        counts, values, end = binary_lists(path, data, start, current, form, name)
    if last:
        refuse_rest(path, data, end, current)
    return counts, values


def read_layout(path: Path) -> dict[str, tuple[int, tuple[str, ...]]]:
    """What the header says: for each element its number of rows and the names of its properties.

    Raises:
        SceneFormatError: Not a PLY file, or a header that cannot be read.
    """
    elements = header(path, _bytes(path, LONGEST_HEADER + 2))[1]
    return {e.name: (e.count, tuple(p.name for p in e.properties)) for e in elements}


def read_comments(path: Path) -> list[str]:
    """The comments of the header, in order, each without the word `comment`.

    Raises:
        SceneFormatError: Not a PLY file, or one without the end of its header.
    """
    lines = header_text(path, _bytes(path, LONGEST_HEADER + 2))[0].splitlines()
    return [line.strip().removeprefix("comment").strip() for line in lines if line.split()[:1] == ["comment"]]


def _find(path: Path, data: bytes, element: str) -> tuple[str, Element, int, bool]:
    """The format, an element, where its rows begin, and whether nothing comes after it."""
    form, elements, start = header(path, data)
    for current in elements:
        if current.name == element:
            return form, current, start, current is elements[-1]
        _, start = (text_rows if form == "ascii" else binary_rows)(path, data, start, current, form, False)
    raise SceneFormatError(path, f"has elements {[e.name for e in elements]}, expected {element}")


def _bytes(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise SceneFormatError(path, f"cannot be read: {error.strerror}") from error
