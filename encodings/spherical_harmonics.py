"""Spherical harmonics of a direction."""

from jaxtyping import Float
from torch import Tensor

from neural.cuda.spherical_harmonics import MAX_DEGREE, spherical_harmonics
from neural.encodings.base import Encoding


class SphericalHarmonics(Encoding):
    """All real spherical harmonics below a degree, of unit vectors (not of vectors mapped to [0, 1]).

    Args:
        degree: 1 to 8; gives degree^2 features.

    Source: Sloan 2013, "Efficient Spherical Harmonic Evaluation", JCGT 2(2), section 2.
    """

    def __init__(self, degree: int = 4) -> None:
        if not 1 <= degree <= MAX_DEGREE:
            raise ValueError(f"SphericalHarmonics: degree must be 1 to {MAX_DEGREE}, got {degree}")
        super().__init__(3, degree * degree)
        self.degree = degree

    def forward(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N K"]:
        return spherical_harmonics(x, self.degree)
