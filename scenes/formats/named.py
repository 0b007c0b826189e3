"""Photographs that a file names by label only, as photogrammetry programs do: found in the folders beside it."""

import os
from pathlib import Path
from typing import Literal

from neural.errors import SceneFormatError
from neural.scenes.capture import IMAGE_SUFFIXES, keep_existing

_MOST_FILES = 1_000_000


class Photographs:
    """The photographs under `images/` beside a file, or beside it, by name with and without suffix."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.folder = next(f for f in (source.parent / "images", source.parent) if f.is_dir())
        self._found: dict[str, list[Path]] = {}
        count = 0
        for at, _, files in os.walk(self.folder):
            for file in sorted(files):
                path = Path(at, file)
                if path.suffix.lower() in IMAGE_SUFFIXES:
                    for key in {file, path.stem}:
                        self._found.setdefault(key, []).append(path)
            count += len(files)
            if count > _MOST_FILES:
                raise SceneFormatError(source, f"has more than {_MOST_FILES} files beside it; move it into its capture")

    def path(self, label: str, where: str) -> Path:
        """Where the photograph is, or where it should be if it is not there.

        Raises:
            SceneFormatError: Two have that name.
        """
        name = label.replace("\\", "/").rsplit("/", 1)[-1]
        if not name.strip() or "\0" in name or name in (".", ".."):
            raise SceneFormatError(self.source, f"{where}: {label[:40]!r} is not a file name")
        found = self._found.get(name, [])
        if len(found) > 1:
            both = " and ".join(str(p.relative_to(self.folder)) for p in found[:2])
            raise SceneFormatError(self.source, f"{where}: {label!r} may be {both}; give them names of their own")
        return found[0] if found else self.folder / name

    def existing(
        self, labels: list[str], where: str, missing: Literal["refuse", "skip"]
    ) -> tuple[list[int], list[Path], tuple[str, ...]]:
        """Indices of the labels that have a photograph, the path of each label, and a warning if some were skipped."""
        paths = [self.path(label, where) for label in labels]
        kept, warnings = keep_existing(self.source, paths, missing) if paths else ([], ())
        return kept, paths, warnings
