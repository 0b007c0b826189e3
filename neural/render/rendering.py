"""What every renderer gives, and what it shows."""

from dataclasses import dataclass
from typing import Protocol

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


class Radiant(Protocol):
    """What a ray can be marched through: a radiance field, a medium under a light."""

    def density(self, positions: Float[Tensor, "S 3"]) -> tuple[Float[Tensor, "S"], Float[Tensor, "S G"]]:
        """Density, 1 / scene unit, and features of which colour is made."""

    def density_of(self, geo: Float[Tensor, "S G"]) -> Float[Tensor, "S"]:
        """The density that features stand for."""

    def color(self, directions: Float[Tensor, "S 3"], geo: Float[Tensor, "S G"]) -> Float[Tensor, "S 3"]:
        """Colour seen along unit directions."""
