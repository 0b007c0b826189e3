"""MatrixCity: transforms.json of a block, and the splits of pose/BLOCK, which reach into the folders of the blocks.

A block's frames have `frame_index` and `rot_mat`, camera to world with OpenGL axes and positions in metres, whose
rotation is divided by 100; images are %04d.png in the block's folder or in its rgb/. A split's frames are nerfstudio's,
with positions in hundreds of metres, and name `../../train/BLOCK/%04d.png`.

Source: Li et al. 2023, "MatrixCity", README "Data Structure" and `scripts/load_aerial.py`.
"""

from pathlib import Path
from typing import Any

import numpy as np

from neural.errors import SceneFormatError

_BLOCK_SCALE = 100.0
_UP = "../../"
_IMAGES = ("rgb", ".", "input")  # the last is CityGaussian's


def translated(path: Path, content: dict[str, Any]) -> tuple[dict[str, Any], Path, float] | None:
    """The same document as nerfstudio would write it.

    Args:
        path: The JSON file.
        content: What it holds.

    Returns:
        The document, the folder that its names begin in, and metres per unit; None if it is no such file.

    Raises:
        SceneFormatError: A frame has no index or no matrix.
    """
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames or not isinstance(frames[0], dict):
        return None
    if "rot_mat" in frames[0]:
        block = [_block_frame(path, i, frame) for i, frame in enumerate(frames)]
        return {**content, "frames": block}, path.parent, 1.0
    root = path.parent.parent.parent
    if path.parent.parent.name != "pose" or not str(frames[0].get("file_path", "")).startswith(_UP):
        return None
    split = [{**frame, "file_path": _split_name(root, frame)} if isinstance(frame, dict) else frame for frame in frames]
    return {**content, "frames": split}, root, 100.0


def _block_frame(path: Path, i: int, frame: Any) -> dict[str, Any]:
    where = f"frames[{i}]"
    index = frame.get("frame_index") if isinstance(frame, dict) else None
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < 10**9:
        raise SceneFormatError(path, f"{where}.frame_index is not a number of an image; copy the file again")
    try:
        matrix = np.array(frame.get("rot_mat"), dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.empty(0)
    if matrix.shape != (4, 4) or not (np.abs(matrix) < 1e12).all():
        raise SceneFormatError(path, f"{where}.rot_mat is not a finite 4 x 4 matrix; copy the file again")
    matrix[:3, :3] *= _BLOCK_SCALE
    name = f"{index:04d}.png"
    folder = next((f for f in _IMAGES if (path.parent / f / name).is_file()), ".")
    file = name if folder == "." else f"{folder}/{name}"
    return {**frame, "file_path": file, "transform_matrix": matrix.tolist()}


def _split_name(root: Path, frame: dict[str, Any]) -> Any:
    name = frame.get("file_path")
    if not isinstance(name, str) or not name.startswith(_UP) or "\0" in name:
        return name
    name = name.removeprefix(_UP)
    block, _, file = name.rpartition("/")
    return name if (root / name).is_file() or not (root / block / "rgb" / file).is_file() else f"{block}/rgb/{file}"
