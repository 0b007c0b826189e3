"""Which photograph saw which point where: tracks.npy, our own companion of a transforms.json.

One row per observation: number of the point, number of the frame, and column and row in that frame's picture, pixels.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neural.errors import SceneFormatError
from neural.scenes.capture import Observations
from neural.scenes.formats import arrays


def observations(path: Path, n_points: int, n_frames: int, kept: Sequence[int]) -> Observations:
    """Observations of the points in the kept frames.

    Args:
        path: The file.
        n_points: Points that it may name.
        n_frames: Frames that it may name.
        kept: Those of the frames that became cameras, in this order.

    Raises:
        SceneFormatError: Damaged, or it names a point or a frame that is not there.
    """
    rows = arrays.read_npy(path)
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise SceneFormatError(path, f"has shape {list(rows.shape)}, expected [M, 4]: point, frame, column, row")
    for column, what, most in ((0, "point", n_points), (1, "frame", n_frames)):
        numbers = rows[:, column]
        bad = ~((numbers >= 0) & (numbers < most) & (numbers == np.floor(numbers)))
        if bad.any():
            raise SceneFormatError(path, f"row {int(bad.argmax())} names {what} {numbers[bad][0]:g} of {most}")
    if not np.isfinite(rows).all():
        raise SceneFormatError(path, "holds places that are not finite; find the cameras anew")
    camera = np.full(n_frames, -1, dtype=np.int64)
    camera[list(kept)] = np.arange(len(kept))
    cameras = camera[rows[:, 1].astype(np.int64)]
    seen = cameras >= 0
    return Observations(rows[seen, 0].astype(np.int64), cameras[seen], rows[seen, 2:])
