"""Whether a file is a voxel grid, told from its first bytes: a .npy may just as well be a picture. No torch."""

import zipfile
from pathlib import Path

import numpy as np

MOST_CHANNELS = 4  # of a picture's pixel


def is_grid(path: Path) -> bool:
    """Whether a file is a .npz, or a .npy of more axes than a picture has or of a longer last one."""
    if not path.is_file() or path.suffix.lower() not in (".npy", ".npz"):
        return False
    if path.suffix.lower() == ".npz":
        return zipfile.is_zipfile(path)
    try:
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    except (OSError, ValueError, EOFError):
        return False
    return len(shape) == 4 or (len(shape) == 3 and shape[2] > MOST_CHANNELS)
