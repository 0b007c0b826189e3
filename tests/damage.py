"""Damaged files for the tests of readers: whatever happens to a file, it is read soundly or refused by name."""

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from hypothesis import strategies as st

from neural.errors import SceneFormatError

T = TypeVar("T")

# What a reader may not expect: no numbers, endless ones, counts beyond the file, brackets that nothing closes.
WORDS = (b"nan", b"1e999", b"-1", b"null", b"\xff\xfe", b"{", b"]", b"\0" * 8, b"\xff" * 8, b"9" * 30)
WORDS += (struct.pack("<Q", 2**40),)

# Some places of a file, how many bytes go there and which come instead; None cuts the file off.
EDITS = st.lists(
    st.tuples(st.integers(0, 2**20), st.integers(0, 16), st.binary(max_size=12) | st.sampled_from(WORDS) | st.none()),
    min_size=1,
    max_size=4,
)


def damaged(data: bytes, edits: list[tuple[int, int, bytes | None]]) -> bytes:
    """A file after `EDITS`."""
    for at, removed, added in edits:
        at %= len(data) + 1
        data = data[:at] if added is None else data[:at] + added + data[at + removed :]
    return data


def damaged_by_chance(data: bytes, seed: int) -> bytes:
    """The same by a seed, for files that are slow to read: cut off or out, bits turned over, or `WORDS` put in."""
    rng = np.random.default_rng(seed)
    kind = seed % 4
    if kind == 0:
        return data[: int(rng.integers(0, len(data)))]
    if kind == 1:
        start, length = sorted(int(v) for v in rng.integers(0, len(data), 2))
        return data[:start] + data[length:]
    result = bytearray(data)
    for spot in rng.integers(0, len(data), 1 + seed % 3):
        if kind == 2:
            result[spot] ^= 1 << int(rng.integers(0, 8))
        else:
            word = WORDS[int(rng.integers(len(WORDS)))]
            result[spot : spot + int(rng.integers(0, 9))] = word
    return bytes(result)


def refused(read: Callable[[Path], T], path: Path, sound: Callable[[T], object]) -> bool:
    """Whether the reader refuses a file; what it reads must be sound, and any other exception fails the test."""
    with contextlib.suppress(SceneFormatError):
        assert sound(read(path))
        return False
    return True
