"""What every encoding is: a module from points [N, D] to features [N, K]."""

from abc import abstractmethod
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from neural.cuda.gradients import GradientBuffer


class Encoding(nn.Module):
    """Base of the encodings.

    Attributes:
        n_dims: D, the number of input dimensions.
        n_output_dims: K, the number of features.
    """

    n_dims: int
    n_output_dims: int

    def __init__(self, n_dims: int, n_output_dims: int) -> None:
        super().__init__()
        self.n_dims = n_dims
        self.n_output_dims = n_output_dims

    @abstractmethod
    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Encodes points; the result is a transposed view of a [K, N] buffer where the encoding computes anything."""

    def extra_repr(self) -> str:
        return f"{self.n_dims} -> {self.n_output_dims}"


@runtime_checkable
class Tabled(Protocol):
    """An encoding that looks its features up in one table, as all grids do: what a trainer knows of it.

    Attributes:
        table: All features, float32 [entries, F].
        gradients: None, or a buffer that backward passes add into instead of `table.grad`.
        working_copy: None, or the copy of half its size that lookups read.
    """

    table: nn.Parameter
    gradients: GradientBuffer | None
    working_copy: Tensor | None
