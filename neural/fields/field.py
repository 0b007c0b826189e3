"""A field of a few numbers per point: an encoding and a small network behind it."""

from jaxtyping import Float
from torch import Tensor, nn

from neural.cuda.mlp_spec import Activation
from neural.mlp import MLP


class Field(nn.Module):
    """Points in [0, 1]^D to values: an image's colour, a distance, a density.

    Args:
        encoding: Points in [0, 1]^D to features, as `neural.HashGrid(2)`.
        n_out: Values per point.
        width: Neurons of each hidden layer: 16 to 128, a multiple of 16.
        n_hidden_layers: 1 to 8.
        output_activation: Of the values; see `neural.MLP`.
        seed: Of the network's initial weights.

    Attributes:
        encoding: As given.
        mlp: The network.

    Source: Mueller et al. 2022, arXiv:2201.05989, section 3.

    Example:
        >>> field = Field(HashGrid(2, log2_hashmap_size=12), 3)
        >>> field(torch.rand(10, 2)).shape
        torch.Size([10, 3])
    """

    def __init__(
        self,
        encoding: nn.Module,
        n_out: int,
        *,
        width: int = 64,
        n_hidden_layers: int = 2,
        output_activation: Activation = "none",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.encoding = encoding
        n_features: int = encoding.n_output_dims  # type: ignore[assignment]
        self.mlp = MLP(
            n_features, n_out, width=width, n_hidden_layers=n_hidden_layers, output_activation=output_activation,
            seed=seed,
        )  # fmt: skip

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N O"]:
        """The values at points in [0, 1]^D."""
        return self.mlp(self.encoding(x))

    def extra_repr(self) -> str:
        return f"{sum(p.numel() for p in self.parameters())} parameters"
