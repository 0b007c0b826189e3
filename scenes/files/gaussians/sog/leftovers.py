"""What an earlier export left in a folder: files that its own index named, and that the new one does not.

Nothing else is ever removed: no file that no index of ours names, nothing behind a link, nothing of other programs.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from neural.errors import SceneFormatError
from neural.scenes.files.gaussians import guarded
from neural.scenes.files.gaussians.sog.files import META, SogFiles

_CHUNK = re.compile(rf"\d+_\d+/{re.escape(META)}", re.ASCII)  # what we call the index of a chunk
_PICTURE = re.compile(r"\w+\.webp", re.ASCII)  # and what the pictures beside one
_MOST_INDEX = 1 << 26  # bytes


@contextlib.contextmanager
def replaced(index: Path) -> Iterator[None]:
    """Around writing a SOG folder or a streamed SOG anew: once it is there, what only the old one named goes."""
    before = named(index)
    yield
    _remove(before - named(index))


def remove(index: Path) -> None:
    """A SOG folder or a streamed SOG of ours, and its folder if nothing else is in it."""
    _remove(named(index))


def named(index: Path) -> set[Path]:
    """The files of a `meta.json` or `lod-meta.json` of ours, itself among them; none where it is not there, or not
    ours."""
    try:
        if index.name.lower() == META:
            content = SogFiles(index).meta()
            parts = [part["files"] for part in content.values() if isinstance(part, dict) and "files" in part]
            names = [name for files in parts if isinstance(files, list) for name in files]
            found = {index.parent / name for name in names if isinstance(name, str) and _PICTURE.fullmatch(name)}
        else:
            content = guarded.read_index(index, _MOST_INDEX)
            names = content["filenames"] if isinstance(content.get("filenames"), list) else []
            chunks = [index.parent / name for name in names if isinstance(name, str) and _CHUNK.fullmatch(name)]
            found = set().union(*(named(chunk) for chunk in chunks if not chunk.parent.is_symlink()))
    except SceneFormatError:
        return set()
    asset = content.get("asset")
    return {index, *found} if isinstance(asset, dict) and asset.get("generator") == "neural" else set()


def _remove(files: set[Path]) -> None:
    """Files, and their folders that are empty then; what may not be removed stays."""
    for file in files:
        with contextlib.suppress(OSError):
            file.unlink()
    for folder in sorted({file.parent for file in files}, key=lambda folder: -len(folder.parts)):
        with contextlib.suppress(OSError):
            folder.rmdir()
