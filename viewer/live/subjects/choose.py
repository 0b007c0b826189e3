"""What a run, or a file, shows."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from neural.errors import BadOption
from neural.viewer.live.subjects.subject import Subject


def subject_of_run(run: Any, earlier: Subject | None = None, *, quick: bool = False) -> Subject:
    """What a trained run shows.

    Args:
        run: Of any task.
        earlier: What the same run showed before: frame and truth are its.
        quick: It will soon be another, as in training: what is prepared for its pictures is to be cheap.

    Raises:
        BadOption: A run of another kind.
    """
    match getattr(run, "task", None):
        case "splats":
            from neural.viewer.live.subjects import splats

            return splats.of_run(run, earlier)
        case "radiance":
            from neural.viewer.live.subjects import radiance

            return radiance.of_run(run, earlier)
        case "sdf":
            from neural.viewer.live.subjects import surface

            return surface.of_run(run, earlier)
        case "volume":
            from neural.viewer.live.subjects import medium

            return medium.of_run(run, earlier, quick=quick)
        case "image":
            from neural.viewer.live.subjects import flat

            return flat.of_run(run, earlier)
    raise BadOption(f"a run of kind {getattr(run, 'kind', type(run).__name__)!r} has no live viewer")


def subject_of_file(
    path: Path, up: Float64[np.ndarray, "3"] | None, *, background: float, device: torch.device
) -> Subject:
    """The Gaussians of a file of any format that is read, in the axes that it says; without `up` theirs is up.

    Raises:
        SceneFormatError: Not such a file, or damaged.
    """
    from neural.viewer.live.subjects import splats

    return splats.of_file(path, up, background=background, device=device)
