"""Photographs that lie beside those of a capture and have no camera: what the tool that posed them left out."""

import re
from collections.abc import Iterable
from pathlib import Path

from neural.scenes.capture import IMAGE_SUFFIXES

_OTHER = re.compile(r"mask|depth|normal|semantic|instance|label|segment", re.IGNORECASE)  # no photographs by their name
_MOST_FILES = 100_000  # of one folder


def unused(used: Iterable[Path]) -> list[Path]:
    """Image files in the folders of the used ones that are not used themselves, sorted.

    What is named after a used photograph is no other photograph, but its mask, depths or normals: `0001.png` beside
    `0001.jpg`, `r_0_depth.png` beside `r_0.png`; nor is what says that it is one of these.
    """
    paths = [path.absolute() for path in used]
    known = set(paths)
    found: list[Path] = []
    for folder in sorted({path.parent for path in paths}):
        stems = {path.stem for path in paths if path.parent == folder}
        for count, path in enumerate(folder.iterdir()):
            if count >= _MOST_FILES:
                break
            if path.suffix.lower() not in IMAGE_SUFFIXES or path in known or not path.is_file():
                continue
            if not _OTHER.search(path.stem) and not any(
                path.stem[: part.start()] in stems for part in re.finditer(r"[._-]|$", path.stem)
            ):
                found.append(path)
    return sorted(found)
