"""A trained scene as a page: with its cameras, in the frame of the capture's files or of the training."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from neural.errors import NotSaved
from neural.export import recolor
from neural.gaussians.model import Gaussians
from neural.gaussians.similarity import transformed
from neural.scenes.near import Near
from neural.scenes.scene import Scene
from neural.viewer.page import write_page

PAGE = ".html"


def export_page(
    path: str | Path,
    gaussians: Gaussians,
    scene: Scene,
    *,
    origin: Float[Tensor, "3"],
    similarity: Float64[np.ndarray, "4 4"],
    near: Near,
    background: float,
    colors: Float[Tensor, "3 4"] | None = None,
) -> Path:
    """Writes a page of Gaussians with the cameras of their scene; see `write_page`.

    Args:
        path: The file.
        gaussians: In the scene's axes, relative to `origin`.
        scene: Whose cameras and names the page lists.
        origin: float64, a point of the scene.
        similarity: From the scene's frame to the page's; what it adds stays float64.
        near: Smallest depths that are drawn.
        background: Grey level behind everything, sRGB.
        colors: Affine map of colours to bake in; see `neural.export.export`.

    Raises:
        BackendUnavailable: The viewer was not built.
        NotSaved: The disk refuses.
    """
    path, linear = Path(path), similarity.copy()
    linear[:3, 3] = 0
    moved = transformed(gaussians, linear)
    if colors is not None:
        recolor(moved, colors)
    scale = float(np.cbrt(np.linalg.det(similarity[:3, :3])))
    c2w = torch.from_numpy(similarity) @ scene.cameras.c2w
    c2w[:, :3, :3] /= scale
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_page(
            path, moved.to_record(), cameras=scene.cameras.posed(c2w), names=scene.image_names, title=scene.name,
            background=(background,) * 3, origin=similarity[:3, :3] @ origin.numpy() + similarity[:3, 3],
            near=near.least * scale, clear=near.closest * scale, up=similarity[:3, :3] @ scene.up / scale,
        )  # fmt: skip
    except OSError as error:
        raise NotSaved(f"{path}: cannot be written: {error.strerror}") from error
