"""Masks that lie beside photographs: which file belongs to which photograph, by the names that people use.

For `a/b.jpg`: `a/masks/b.png`, `masks/a/b.png` beside the folder of the photographs or in it, `b.jpg.png` (COLMAP),
`b_mask.png`, `b.mask.png` or `mask_b.png` beside it. White is what counts.
"""

from collections.abc import Sequence
from pathlib import Path

from neural.scenes.capture import IMAGE_SUFFIXES

FOLDERS = ("masks", "mask")
_PHOTO_FOLDERS = ("images", "photos", "photographs", "rgb", "input")


def is_mask(path: Path, root: Path) -> bool:
    """Whether a picture's name or a folder above it (inside `root`) says that it is a mask."""
    stem = path.stem.lower()
    return (
        any(part.lower() in FOLDERS for part in path.relative_to(root).parts[:-1])
        or stem.endswith(("_mask", ".mask"))
        or stem.startswith("mask_")
        or (Path(stem).suffix in IMAGE_SUFFIXES and path.with_name(path.stem).is_file())
    )


def mask_of(path: Path, root: Path) -> Path | None:
    """The mask of a photograph, if there is one."""
    relative = path.relative_to(root)
    outside = [root.parent] if _may_have_some_beside(root) else []
    places = [path.parent]
    for name in FOLDERS:
        places += [path.parent / name, root / name / relative.parent]
        places += [folder / name / relative.parent for folder in outside]
        if path.parent.name.lower() in _PHOTO_FOLDERS and path.parent != root:
            places.append(path.parent.parent / name)
    for place in places:
        beside = place == path.parent
        stems = [f"{path.stem}_mask", f"{path.stem}.mask", f"mask_{path.stem}", path.name]
        for stem in stems if beside else [path.stem, *stems]:
            for suffix in (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"):
                candidate = place / (stem + suffix)
                if candidate != path and candidate.is_file():
                    return candidate
    return None


def beside(paths: Sequence[Path], root: Path) -> list[Path]:
    """The masks of photographs that lie beside their folder, not in it."""
    if not _may_have_some_beside(root) or not any((root.parent / name).is_dir() for name in FOLDERS):
        return []
    found = {mask for path in paths if (mask := mask_of(path, root)) is not None and not mask.is_relative_to(root)}
    return sorted(found)


def _may_have_some_beside(root: Path) -> bool:
    return root.name.lower() in _PHOTO_FOLDERS
