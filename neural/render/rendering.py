"""What every renderer gives."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Rendering:
    """Rays or pixels seen through a scene.

    Attributes:
        rgb: sRGB, composited on the background that was asked for.
        alpha: Opacity, 0 to 1.
        depth: Expected distance along the ray, scene units, not divided by alpha.
    """

    rgb: Float[Tensor, "R 3"]
    alpha: Float[Tensor, "R"]
    depth: Float[Tensor, "R"]
