"""Frequency encoding, the positional encoding of NeRF."""

from jaxtyping import Float
from torch import Tensor

from neural.cuda.frequency import MAX_FREQUENCIES, frequency
from neural.encodings.base import Encoding


class Frequency(Encoding):
    """sin(2^k pi x) and cos(2^k pi x) of each coordinate for k = 0 .. n_frequencies - 1.

    Ordered as in tiny-cuda-nn: dimension, then frequency, then sine and cosine.

    Args:
        n_dims: Input dimensions.
        n_frequencies: 1 to 60; gives 2 n_dims n_frequencies features.

    Source: Mildenhall et al. 2020, arXiv:2003.08934, eq. 4.
    """

    def __init__(self, n_dims: int, n_frequencies: int = 10) -> None:
        if n_dims < 1 or not 1 <= n_frequencies <= MAX_FREQUENCIES:
            raise ValueError(
                f"Frequency: n_dims must be at least 1 and n_frequencies 1 to {MAX_FREQUENCIES}, "
                f"got {n_dims} and {n_frequencies}"
            )
        super().__init__(n_dims, 2 * n_dims * n_frequencies)
        self.n_frequencies = n_frequencies

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        if x.ndim != 2 or x.shape[1] != self.n_dims:
            raise ValueError(f"Frequency: x must be [N, {self.n_dims}], got {list(x.shape)}")
        return frequency(x, self.n_frequencies)
