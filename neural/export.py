"""Scene files for other programs, in the frame of the files that the scene came from."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from neural.errors import NotSaved
from neural.gaussians.model import Gaussians
from neural.gaussians.similarity import transformed
from neural.scenes.files.gaussians import formats
from neural.scenes.files.gaussians.record import SH_C0

SUFFIXES = formats.ENDINGS
Frame = Literal["input", "scene"]


def export(
    gaussians: Gaussians,
    path: str | Path,
    *,
    origin: Float[Tensor, "3"] | None = None,
    world_to_scene: Float64[np.ndarray, "4 4"] | None = None,
    colors: Float[Tensor, "3 4"] | None = None,
) -> Path:
    """Writes Gaussians as a 3DGS .ply (everything), a .spz (about a tenth) or a .splat (one colour from everywhere).

    Args:
        gaussians: What is written.
        path: Its ending decides the format.
        origin: Added to the means first: Gaussians are trained relative to a point of the scene.
        world_to_scene: Of the scene; it is undone, so that the file is in the frame of the input.
        colors: Affine map of colours to bake in: the learnt exposure of a photograph.

    Returns:
        The file.

    Raises:
        ValueError: Another ending, or a Gaussian that is not finite.
        NotSaved: The disk refuses.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"export: {path} must end in {', '.join(SUFFIXES)}")
    back = np.eye(4) if world_to_scene is None else np.linalg.inv(world_to_scene)
    moved = transformed(gaussians, back, origin)
    if colors is not None:
        recolor(moved, colors)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        formats.write(path, moved.to_record())
    except OSError as error:
        raise NotSaved(f"{path}: cannot be written: {error.strerror}") from error
    return path


@torch.no_grad()
def recolor(gaussians: Gaussians, colors: Float[Tensor, "3 4"]) -> None:
    """Applies A c + b to colours c = 0.5 + C0 sh0 + ...: A to every coefficient, the rest to the first."""
    matrix, offset = colors[:, :3].to(gaussians.sh0), colors[:, 3].to(gaussians.sh0)
    constant = (matrix.sum(1) * 0.5 + offset - 0.5) / SH_C0
    gaussians.sh0.copy_(gaussians.sh0 @ matrix.T + constant)
    gaussians.shN.copy_(gaussians.shN @ matrix.T)
