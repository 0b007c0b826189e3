"""Triangle waves, a cheap positional encoding."""

from jaxtyping import Float
from torch import Tensor

from neural.cuda.axis_encoding import MAX_FREQUENCIES, triangle_wave
from neural.encodings.base import Encoding


class TriangleWave(Encoding):
    """Triangle waves of each coordinate at doubling frequencies, n_frequencies features of each.

    Feature k of a coordinate x is 4 |frac(2^(k-1) x + k/4) - 1/2| - 1; ordered as in tiny-cuda-nn: dimension, then
    frequency.

    Args:
        n_dims: Input dimensions.
        n_frequencies: 1 to 60; gives n_dims n_frequencies features.

    Source: Mueller et al. 2021, arXiv:2106.12372, section 3.3.
    """

    def __init__(self, n_dims: int, n_frequencies: int = 12) -> None:
        if n_dims < 1 or not 1 <= n_frequencies <= MAX_FREQUENCIES:
            raise ValueError(
                f"TriangleWave: n_dims must be at least 1 and n_frequencies 1 to {MAX_FREQUENCIES}, "
                f"got {n_dims} and {n_frequencies}"
            )
        super().__init__(n_dims, n_dims * n_frequencies)
        self.n_frequencies = n_frequencies

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        if x.ndim != 2 or x.shape[1] != self.n_dims:
            raise ValueError(f"TriangleWave: x must be [N, {self.n_dims}], got {list(x.shape)}")
        return triangle_wave(x, self.n_frequencies)
