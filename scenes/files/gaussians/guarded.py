"""Reading files that may be damaged or hostile: nothing is taken for granted that costs memory, or leads elsewhere."""

import json
import re
from pathlib import Path, PureWindowsPath
from typing import Any, TypeGuard

from neural.errors import SceneFormatError

PLAIN_NAME = re.compile(r"\w[\w .-]{0,99}", re.ASCII)  # of a file beside another: no folder, no parent
_MOST_NAME = 255  # characters of a file's name
_MOST_RATIO = 100  # no scene is smaller than that when compressed
_ALWAYS_FINE = 1 << 24  # bytes


def is_name(name: object) -> TypeGuard[str]:
    """Whether it may name a file beside another, in any language: no folder, no drive, no parent."""
    return (
        isinstance(name, str) and len(name) <= _MOST_NAME and "\0" not in name and name not in ("", ".", "..")
        and PureWindowsPath(name).name == name
    )  # fmt: skip


def read_bytes(path: Path, most: int = -1) -> bytes:
    """A file, or its first bytes.

    Raises:
        SceneFormatError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise SceneFormatError(path, f"cannot be read: {error.strerror}") from error


def read_index(path: Path, most: int) -> dict[str, Any]:
    """A JSON file that names others, of `most` bytes.

    Raises:
        SceneFormatError: It cannot be read, is larger, or holds something else.
    """
    data = read_bytes(path, most + 1)
    if len(data) > most:
        raise SceneFormatError(path, f"is larger than {most >> 20} MiB, no index of a scene")
    return json_object(path, data)


def json_object(path: Path, data: bytes, part: str = "") -> dict[str, Any]:
    """What JSON says.

    Args:
        path: The file that it came from.
        data: The text.
        part: What it is of the file, for the message, where it is not all of it.

    Raises:
        SceneFormatError: It is no JSON, or no object.
    """
    start = f"has a {part} that " if part else ""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SceneFormatError(path, f"{start}is no JSON ({error}); copy it again") from None
    if not isinstance(found, dict):
        raise SceneFormatError(path, f"{start}is JSON but no object; is it the file that it should be?")
    return found


def refuse_bomb(path: Path, claimed: int, held: int) -> None:
    """Raises SceneFormatError where `claimed` bytes are to come out of `held`: more than any scene is compressed by."""
    if claimed > _MOST_RATIO * held + _ALWAYS_FINE:
        raise SceneFormatError(
            path,
            f"claims to unpack to {claimed / 1e6:,.0f} MB from {held / 1e6:.2g} MB, over {_MOST_RATIO} times as much; "
            "it is damaged or hostile",
        )
