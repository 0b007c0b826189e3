"""ScanNet++: a transforms.json in dslr/nerfstudio/ whose names begin in other folders, with held-out frames apart.

`frames` and `test_frames` name images of dslr/resized_images (of resized_undistorted_images in
transforms_undistorted.json), and masks of the folder of masks beside it, white where nothing was hidden for privacy.
Poses are camera to world, OpenGL axes, in metres.

Source: Yeshwanth et al. 2023, "ScanNet++", documentation of the data, "DSLR"; nerfstudio `scannetpp_dataparser.py`.
"""

from pathlib import Path
from typing import Any

from neural.errors import SceneFormatError

PLACES = ("dslr/nerfstudio/transforms.json", "dslr/nerfstudio/transforms_undistorted.json")
_FOLDERS = {
    "transforms.json": ("resized_images", "resized_anon_masks"),
    "transforms_undistorted.json": ("resized_undistorted_images", "resized_undistorted_masks"),
}


def translated(path: Path, content: dict[str, Any]) -> tuple[dict[str, Any], Path, float] | None:
    """The same document as nerfstudio would write it.

    Args:
        path: The JSON file.
        content: What it holds.

    Returns:
        The document, the folder that its names begin in, and metres per unit; None if it is no such file.

    Raises:
        SceneFormatError: `test_frames` is not a list of frames.
    """
    if path.parent.name != "nerfstudio" or path.name not in _FOLDERS or "test_frames" not in content:
        return None
    images, masks = _FOLDERS[path.name]
    listed = {split: content.get(key) for split, key in (("train", "frames"), ("test", "test_frames"))}
    frames, names = [], {}
    for split, part in listed.items():
        if not isinstance(part, list) or not all(
            isinstance(f, dict) and isinstance(f.get("file_path"), str) for f in part
        ):
            raise SceneFormatError(path, f"its {split} frames are not a list of frames that each name an image")
        placed = [{**frame, "file_path": f"{images}/{frame['file_path']}"} for frame in part]
        for frame in placed:
            mask = frame.pop("mask_path", None)
            if isinstance(mask, str) and content.get("has_mask", True):
                frame["mask_path"] = f"{masks}/{mask}"
        names[split] = [frame["file_path"] for frame in placed]
        frames += placed
    document = {**content, "frames": frames, "train_filenames": names["train"], "test_filenames": names["test"]}
    return document, path.parent.parent, 1.0
