"""One-blob encoding: where a coordinate lies among the bins of [0, 1], softly."""

from jaxtyping import Float
from torch import Tensor

from neural.cuda.axis_encoding import MAX_BINS, one_blob
from neural.encodings.base import Encoding


class OneBlob(Encoding):
    """The share of a kernel about each coordinate that falls into each of n_bins bins of [0, 1]; the box wraps.

    Args:
        n_dims: Input dimensions.
        n_bins: 1 to 1024, no power of two needed; gives n_dims n_bins features.

    Source: Mueller et al. 2019, arXiv:1808.03856, section 4.3; the quartic kernel of tiny-cuda-nn.
    """

    def __init__(self, n_dims: int, n_bins: int = 16) -> None:
        if n_dims < 1 or not 1 <= n_bins <= MAX_BINS:
            raise ValueError(
                f"OneBlob: n_dims must be at least 1 and n_bins 1 to {MAX_BINS}, got {n_dims} and {n_bins}"
            )
        super().__init__(n_dims, n_dims * n_bins)
        self.n_bins = n_bins

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        if x.ndim != 2 or x.shape[1] != self.n_dims:
            raise ValueError(f"OneBlob: x must be [N, {self.n_dims}], got {list(x.shape)}")
        return one_blob(x, self.n_bins)
