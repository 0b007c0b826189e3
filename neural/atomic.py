"""Files that are either the old one or the new one, never half of either.

Written to a temporary name in the same folder, flushed to the disk, renamed. A process killed at any moment
leaves at most a temporary file (`.<name>.<pid>.tmp`) behind.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def replacing(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that takes the place of `path` once the block has ended without an error.

    Args:
        path: The file to replace or create; its folder must exist.
        mode: "wb" or "w" (UTF-8, newlines as written).

    Raises:
        OSError: From the file system (a full disk, for one); `path` is then what it was before.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with open(temporary, mode, **text) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8."""
    with replacing(path, "w") as file:
        file.write(text)


def write_page(path: str | Path, text: str) -> None:
    """Replace `path` by a page for people: bytes of file names that are no UTF-8 are shown as `?`."""
    write_text(path, text.encode("utf-8", "replace").decode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Replace `path` by strict, indented JSON; bytes of file names that are no UTF-8 survive as escapes.

    Raises:
        ValueError: For NaN and infinities, which JSON does not have; see `finite`.
    """
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    if any("\ud800" <= c <= "\udfff" for c in text):
        text = json.dumps(value, indent=1, allow_nan=False)
    write_text(path, text + "\n")


def finite(value: float | None) -> float | None:
    """The number, or None (JSON's null) where it is NaN or infinite."""
    return value if value is not None and abs(value) < float("inf") else None


def sync_folder(path: str | Path) -> None:
    """Make renames and removals inside a folder survive a power cut (nothing to do on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
