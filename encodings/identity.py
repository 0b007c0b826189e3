"""The input itself as features."""

from jaxtyping import Float
from torch import Tensor

from neural.encodings.base import Encoding


class Identity(Encoding):
    """scale x + offset.

    Args:
        n_dims: Dimensions of input and output.
        scale: Factor on every coordinate.
        offset: Added afterwards.
    """

    def __init__(self, n_dims: int, *, scale: float = 1.0, offset: float = 0.0) -> None:
        if n_dims < 1:
            raise ValueError(f"Identity: n_dims must be at least 1, got {n_dims}")
        super().__init__(n_dims, n_dims)
        self.scale = scale
        self.offset = offset

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        if x.ndim != 2 or x.shape[1] != self.n_dims:
            raise ValueError(f"Identity: x must be [N, {self.n_dims}], got {list(x.shape)}")
        return x if self.scale == 1.0 and self.offset == 0.0 else x * self.scale + self.offset
