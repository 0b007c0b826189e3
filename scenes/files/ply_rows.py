"""Rows of PLY files, binary and text: plain numbers as a structured array, lists as lengths and what they hold.

Every count is checked against the bytes that follow before anything is allocated for it.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from neural.errors import SceneFormatError
from neural.scenes.files.ply_header import ORDERS, Element, Property

_AHEAD = 64  # rows that are tried at first as laid out like the one before them


def binary_rows(
    path: Path, data: bytes, start: int, element: Element, form: str, wanted: bool
) -> tuple[np.ndarray | None, int]:
    """Rows of a binary element (None if only skipped), and where the next one begins."""
    order = ORDERS[form]
    if not any(p.count_type for p in element.properties):
        dtype = element.dtype(order)
        end = start + element.count * dtype.itemsize
        if end > len(data):
            raise _short(path, element, (len(data) - start) // dtype.itemsize)
        return np.frombuffer(data, dtype, element.count, start) if wanted else None, end
    for row in range(element.count):
        for p in element.properties:
            _, start = _values(path, data, start, element, row, p, order)
    return None, start


def text_rows(
    path: Path, data: bytes, start: int, element: Element, form: str, wanted: bool
) -> tuple[np.ndarray | None, int]:
    """Rows of a text element (None if only skipped), and where the next one begins."""
    rows, start = text_lines(path, data, start, element)
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


def text_lines(path: Path, data: bytes, start: int, element: Element) -> tuple[list[bytes], int]:
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


def binary_lists(
    path: Path, data: bytes, start: int, element: Element, form: str, name: str
) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "M"], int]:
    """How long lists are, what they hold, and where the next element begins."""
    order = ORDERS[form]
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
            length, at = _values(path, data, at, element, row, p, order)
            if p.count_type:
                fields.append((f"{p.name} counted", order + p.count_type, 1))
            fields.append((p.name, order + p.type, length))
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


def text_lists(
    path: Path, lines: list[bytes], element: Element, name: str
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


def refuse_rest(path: Path, data: bytes, end: int, element: Element) -> None:
    """Raises if the file goes on behind its last element as if that had more rows."""
    if len(data[end:].strip(b"\0 \t\r\n")) > 2 * len(element.properties):  # more than a stray mark or two
        raise SceneFormatError(
            path,
            f"goes on for {len(data) - end} bytes after the {element.count} rows that its header claims for element "
            f"{element.name}; the count is wrong, write the file again",
        )


def _values(path: Path, data: bytes, at: int, element: Element, row: int, p: Property, order: str) -> tuple[int, int]:
    """How many values a property has in a binary row, and where they end."""
    length = 1
    if p.count_type:
        counter = np.dtype(order + p.count_type)
        if at + counter.itemsize > len(data):
            raise _short(path, element, row)
        length = int(np.frombuffer(data, counter, 1, at)[0])
        at += counter.itemsize
    end = at + length * np.dtype(p.type).itemsize
    if length < 0 or end > len(data):
        raise _short(path, element, row)
    return length, end


def _short(path: Path, element: Element, found: int) -> SceneFormatError:
    return SceneFormatError(
        path,
        f"element {element.name} claims {element.count} rows but the file holds only {found}; "
        "it is truncated, copy it again",
    )
