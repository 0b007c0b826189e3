"""Photographs that lie beside those of a capture and have no camera: what the tool that posed them left out."""

from collections.abc import Iterable
from pathlib import Path

from neural.scenes.capture import IMAGE_SUFFIXES

_MOST_FILES = 100_000  # of one folder


def unused(used: Iterable[Path]) -> list[Path]:
    """Image files in the folders of the used ones that are not used themselves, sorted.

    A folder in which more lies unused than used is one of something else (depth maps, a larger capture that this one
    takes a few images of) only if names differ in kind: so all are listed, and the caller says how many.
    """
    paths = [path.absolute() for path in used]
    known = set(paths)
    found: list[Path] = []
    for folder in sorted({path.parent for path in paths}):
        for count, path in enumerate(folder.iterdir()):
            if count >= _MOST_FILES:
                break
            if path.suffix.lower() in IMAGE_SUFFIXES and path not in known and path.is_file():
                found.append(path)
    return sorted(found)
