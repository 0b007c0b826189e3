"""What a capture's text files claim: numbers, matrices and JSON, each refused by name when it is something else."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from neural.errors import SceneFormatError

LARGEST_FILE = 1 << 30  # bytes; a capture's text is far smaller


def read_bytes(path: Path, largest: int = LARGEST_FILE) -> bytes:
    """A whole file.

    Raises:
        SceneFormatError: It cannot be read, or is larger than `largest` bytes.
    """
    try:
        size = path.stat().st_size
        if size > largest:
            raise SceneFormatError(path, f"has {size} bytes, more than {largest}; is it the file that it should be?")
        return path.read_bytes()
    except OSError as error:
        raise SceneFormatError(path, f"cannot be read: {error.strerror}; restore it") from error


def read_text(path: Path, largest: int = LARGEST_FILE) -> str:
    """A whole UTF-8 file, with or without a byte order mark.

    Raises:
        SceneFormatError: It cannot be read, is too large, or is not text.
    """
    try:
        return read_bytes(path, largest).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SceneFormatError(path, f"is not UTF-8 text ({error.reason}); was it damaged?") from error


def read_json(path: Path) -> Any:
    """A JSON file's content.

    Raises:
        SceneFormatError: It cannot be read or is not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SceneFormatError(path, f"is not valid JSON ({error}); was it cut off?") from error


def numbers(source: Path, words: list[str], where: str) -> Float64[np.ndarray, "N"]:
    """Words as numbers, which may be infinite or NaN.

    Raises:
        SceneFormatError: One is not a number.
    """
    try:
        return np.array([float(word) for word in words], dtype=np.float64)
    except ValueError as error:
        raise SceneFormatError(source, f"{where}: {error}; the file is damaged, export it again") from None


def as_float(value: int | float) -> float:
    """A number of a JSON file; an integer too large for a float counts as infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def read_rows(path: Path) -> list[Float64[np.ndarray, "N"]]:
    """The numbers of each line that is not empty, separated by blanks or commas."""
    lines = read_text(path, 1 << 26).splitlines()
    return [
        numbers(path, words, f"line {number}")
        for number, line in enumerate(lines, start=1)
        if (words := line.replace(",", " ").split())
    ]


def read_matrix(path: Path, *shapes: tuple[int, int], finite: bool = True) -> Float64[np.ndarray, "R C"]:
    """A matrix of one of the given shapes, written line by line.

    Args:
        path: The text file.
        shapes: Rows and columns that are allowed.
        finite: Whether NaN and infinity are refused.

    Raises:
        SceneFormatError: Not numbers, of another shape, or not finite.
    """
    rows = read_rows(path)
    shape = (len(rows), len(rows[0]) if rows else 0)
    if shape not in shapes or len({len(row) for row in rows}) != 1:
        expected = " or ".join(f"{r} x {c}" for r, c in shapes)
        lengths = ", ".join(str(len(row)) for row in rows[:6])
        raise SceneFormatError(path, f"has lines of [{lengths}] numbers, expected {expected}; was it cut off?")
    matrix = np.stack(rows)
    if finite and not np.isfinite(matrix).all():
        raise SceneFormatError(path, "contains NaN or infinity; remove this view or repeat the pose estimation")
    return matrix


@dataclass(frozen=True)
class Fields:
    """One JSON object with its place in the file, so that every error can name both."""

    source: Path
    where: str
    content: dict[str, Any]

    @classmethod
    def of(cls, source: Path, where: str, value: Any) -> "Fields":
        """Check that a value is an object."""
        if not isinstance(value, dict):
            raise SceneFormatError(source, f"{where or 'the file'} is {_shown(value)}, expected an object {{...}}")
        return cls(source, where, value)

    def place(self, key: str | int) -> str:
        """How errors name a field."""
        return f"{self.where}.{key}" if self.where else str(key)

    def fault(self, key: str, reason: str) -> SceneFormatError:
        """An error about one field."""
        return SceneFormatError(self.source, f"{self.place(key)} {reason}")

    def required(self, key: str) -> Any:
        """A value that must be there."""
        value = self.content.get(key)
        if value is None:
            raise self.fault(key, "is missing; export the capture again")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number; `default` where the field is absent, None: it must be there."""
        value = self.content.get(key)
        if value is None and default is not None:
            return default
        value = self.required(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fault(key, f"is {_shown(value)}, expected a number")
        result = as_float(value)
        if not math.isfinite(result):
            raise self.fault(key, f"is {result}; correct it")
        return result

    def text(self, key: str) -> str:
        """A string that must be there."""
        value = self.required(key)
        if not isinstance(value, str):
            raise self.fault(key, f"is {_shown(value)}, expected a string")
        return value

    def array(self, key: str, *shapes: tuple[int, ...], finite: bool = True) -> Float64[np.ndarray, "..."]:
        """Nested lists of numbers of one of the given shapes."""
        value = self.required(key)
        try:
            result = np.array(value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            result = np.empty(0)
        if result.shape not in shapes:
            expected = " or ".join(" x ".join(map(str, shape)) for shape in shapes)
            raise self.fault(key, f"is {_shown(value)}, expected {expected} numbers")
        if finite and not np.isfinite(result).all():
            raise self.fault(key, "contains NaN or infinity; remove this frame or correct it")
        return result

    def child(self, key: str) -> "Fields":
        """An object that must be there."""
        return Fields.of(self.source, self.place(key), self.required(key))

    def children(self, key: str) -> list["Fields"]:
        """A list of objects that must be there."""
        value = self.required(key)
        if not isinstance(value, list):
            raise self.fault(key, f"is {_shown(value)}, expected a list")
        return [Fields.of(self.source, f"{self.place(key)}[{i}]", item) for i, item in enumerate(value)]

    def items(self, key: str) -> Iterator[tuple[str, "Fields"]]:
        """The entries of an object of objects that must be there."""
        for name, value in self.child(key).content.items():
            yield name, Fields.of(self.source, f"{self.place(key)}[{name!r}]", value)


def _shown(value: Any) -> str:
    text = repr(value)[:40]
    return text if len(text) < 40 else f"{text}..."
