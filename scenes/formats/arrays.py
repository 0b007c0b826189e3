"""NumPy's .npy and .npz files without trust: no pickles, and nothing allocated that the file does not hold."""

import ast
import io
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from neural.errors import SceneFormatError
from neural.scenes.formats.fields import read_bytes

_LARGEST_MEMBER = 1 << 20  # bytes; the archives here hold small matrices
_MOST_MEMBERS = 1 << 20
_LONGEST_HEADER = 1 << 14
_TYPES = {f"{order}{kind}" for order in "<>" for kind in ("f4", "f8", "i2", "i4", "i8", "u2", "u4", "u8")} | {
    "|u1",
    "|i1",
}


def read_npy(path: Path) -> np.ndarray:
    """An array of numbers.

    Raises:
        SceneFormatError: Not a .npy file, cut off, or holding objects.
    """
    return _array(path, path.name, read_bytes(path))


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an archive by name.

    Raises:
        SceneFormatError: Not such an archive, damaged, or a member is too large or holds objects.
    """
    data = read_bytes(path)
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > _MOST_MEMBERS:
                raise SceneFormatError(path, f"holds {len(members)} arrays, more than {_MOST_MEMBERS}")
            for member in members:
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise SceneFormatError(path, f"{member.filename}: unknown compression; save it with numpy.savez")
                with archive.open(member) as stream:
                    content = stream.read(_LARGEST_MEMBER + 1)
                if len(content) > _LARGEST_MEMBER:
                    raise SceneFormatError(path, f"{member.filename} has more than {_LARGEST_MEMBER} bytes")
                arrays[member.filename.removesuffix(".npy")] = _array(path, member.filename, content)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, NotImplementedError) as error:
        raise SceneFormatError(path, f"is not a whole .npz archive ({error}); copy it again from its source") from error
    return arrays


def _array(path: Path, name: str, data: bytes) -> np.ndarray:
    """The array of a .npy file's bytes; its header is read here because NumPy's own reader lets any error through."""
    long = data[6:7] in (b"\2", b"\3")
    start = 12 if long else 10
    length = int.from_bytes(data[8:start], "little")
    try:
        if data[:6] != b"\x93NUMPY" or data[6:7] not in (b"\1", b"\2", b"\3") or length > _LONGEST_HEADER:
            raise ValueError("no NumPy header")
        header = ast.literal_eval(data[start : start + length].decode("latin-1").strip())
        kind, by_columns, shape = header["descr"], bool(header["fortran_order"]), header["shape"]
        if not (isinstance(shape, tuple) and all(isinstance(n, int) and 0 <= n < 2**62 for n in shape)):
            raise ValueError(f"its shape is {str(shape)[:40]}")
    except (ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError) as error:
        raise SceneFormatError(path, f"{name} is not a whole .npy array ({error}); copy it again") from error
    if not isinstance(kind, str) or kind not in _TYPES:
        raise SceneFormatError(path, f"{name} holds {str(kind)[:40]!r}, expected numbers; save it as float64")
    held, each = len(data) - start - length, int(kind[2:])
    if math.prod(shape) * each != held or len(shape) > 8:
        raise SceneFormatError(path, f"{name} claims {list(shape)} x {kind}, but {held} bytes follow; was it cut off?")
    flat = np.frombuffer(data, dtype=kind, offset=start + length)
    return flat.reshape(shape, order="F" if by_columns else "C").astype(np.float64)
