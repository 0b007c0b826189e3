"""What every renderer gives, what it shows, and how rays are sampled."""

import math
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


@dataclass(frozen=True)
class Marching:
    """How rays are sampled; the shortest step is the occupancy grid's.

    Attributes:
        cone_angle: Growth of the step with distance; 0 for a box.
        near: No sample closer to the origin than this, scene units.
        far: None farther than this.
        early_stop: A ray ends where less than this share of the light gets through.
    """

    cone_angle: float = 0.0
    near: float = 0.0
    early_stop: float = 1e-4
    far: float = math.inf


@dataclass(frozen=True)
class Traced:
    """A rendering and what training needs beside it.

    Attributes:
        rendering: Colours, opacity and depth.
        n_marched: Samples in occupied space.
        n_looked_up: Those of them whose density was looked up: none behind an opaque surface.
        n_shaded: Those of them that could be seen.
        n_rays: Rays [0, n_rays) were rendered; the rest did not fit `max_samples` and show the background.
        distortion: Per-ray distortion of the samples, or None where it was not asked for.
        healthy: Whether every density was a number; a sample whose density is NaN is not seen, and would go unnoticed.
    """

    rendering: Rendering
    n_marched: int
    n_looked_up: int
    n_shaded: int
    n_rays: int
    distortion: Float[Tensor, "R"] | None
    healthy: bool
