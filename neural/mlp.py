"""A tiny multilayer perceptron as a module."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural.cuda.mlp import Activation, MLPSpec, mlp


class MLP(nn.Module):
    """A fused multilayer perceptron.

    Args:
        n_in: Inputs.
        n_out: Outputs.
        width: Neurons of each hidden layer, a multiple of 16 from 16 to 128.
        n_hidden_layers: 1 to 8.
        activation: Of the hidden layers.
        output_activation: Of the outputs.
        bias: Whether layers add a bias.
        frequency: `sine` is sin(frequency z).
        seed: Of the initial values: He's uniform for ReLU and its kin, SIREN's for sine, Xavier's otherwise; biases 0.

    Attributes:
        params: All layers in one float32 array; `layers()` gives views.

    Raises:
        ValueError: A value out of range.

    Source: initial values He et al. 2015, arXiv:1502.01852, eq. 10; Sitzmann et al. 2020, arXiv:2006.09661,
    section 3.2.

    Example:
        >>> MLP(32, 3, output_activation="sigmoid")(torch.rand(10, 32)).shape
        torch.Size([10, 3])
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        width: int = 64,
        n_hidden_layers: int = 2,
        activation: Activation = "relu",
        output_activation: Activation = "none",
        bias: bool = False,
        frequency: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.spec = MLPSpec(n_in, n_out, width, n_hidden_layers, activation, output_activation, bias, frequency)
        self.params = nn.Parameter(torch.zeros(self.spec.n_params))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for layer, (weights, _) in enumerate(self.layers()):
                bound = _bound(self.spec, layer, *weights.shape)
                weights.copy_(torch.rand(weights.shape, generator=generator) * (2 * bound) - bound)

    def forward(self, x: Float[Tensor, "N I"]) -> Float[Tensor, "N O"]:
        """Outputs of the network."""
        return mlp(x, self.params, self.spec)

    def layers(self) -> list[tuple[Float[Tensor, "O I"], Float[Tensor, "O"] | None]]:
        """Weights and bias of each layer, views of `params`."""
        found, offset = [], 0
        for outputs, inputs in self.spec.shapes:
            weights = self.params[offset : offset + outputs * inputs].view(outputs, inputs)
            offset += outputs * inputs
            bias = self.params[offset : offset + outputs] if self.spec.bias else None
            offset += outputs if self.spec.bias else 0
            found.append((weights, bias))
        return found

    def extra_repr(self) -> str:
        s = self.spec
        return f"{s.n_in} - {s.n_hidden_layers} x {s.width} - {s.n_out}, {s.activation}, {s.output_activation}"


def _bound(spec: MLPSpec, layer: int, outputs: int, inputs: int) -> float:
    """Half the range of a layer's uniform initial weights."""
    if spec.activation == "sine":
        return 1.0 / inputs if layer == 0 else math.sqrt(6.0 / inputs) / spec.frequency
    if layer < spec.n_hidden_layers and spec.activation in ("relu", "leaky_relu", "silu", "softplus"):
        return math.sqrt(6.0 / inputs)
    return math.sqrt(6.0 / (inputs + outputs))
