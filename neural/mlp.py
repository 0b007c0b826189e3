"""A small multilayer perceptron as a module, on the fused kernels."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural.cuda.gradients import GradientBuffer
from neural.cuda.mlp import mlp
from neural.cuda.mlp_spec import Activation, MLPSpec


class MLP(nn.Module):
    """Fully connected network with equal hidden layers.

    Weights start uniform in +-sqrt(6 / inputs) of each layer (He), sine networks as SIREN has them: the first layer
    +-1 / inputs, the others +-sqrt(6 / inputs) / frequency. Biases start at zero.

    Args:
        n_in: Inputs, at least 1.
        n_out: Outputs, at least 1.
        width: Neurons of each hidden layer: 16 to 128, a multiple of 16.
        n_hidden_layers: 1 to 8.
        activation: Of the hidden layers: none, relu, leaky_relu, silu, softplus, sine, sigmoid or exp.
        output_activation: Of the outputs, from the same list.
        bias: Whether layers have a bias.
        frequency: Of every sine activation, sin(frequency z).
        seed: Of the initial weights.

    Attributes:
        params: All layers in one float32 parameter; `layers()` gives views.
        spec: Sizes, activations and layout.
        gradients: None, or a buffer that backward passes add into instead of `params.grad`.

    Raises:
        ValueError: A size or an activation that the kernels do not have.

    Source: He et al. 2015, arXiv:1502.01852, eq. 10; Sitzmann et al. 2020, arXiv:2006.09661, section 3.2.
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
        self.gradients: GradientBuffer | None = None
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Draws the initial weights anew."""
        generator = torch.Generator().manual_seed(seed)
        fresh = torch.zeros(self.spec.n_params)
        for layer, (weight, _) in enumerate(self.spec.layers(fresh)):
            n_in = weight.shape[1]
            bound = math.sqrt(6 / n_in)
            if self.spec.activation == "sine":
                bound = 1 / n_in if layer == 0 else bound / self.spec.frequency
            weight.uniform_(-bound, bound, generator=generator)
        with torch.no_grad():
            self.params.copy_(fresh)

    def layers(self) -> list[tuple[Tensor, Tensor | None]]:
        """(W [outputs, inputs], b [outputs] or None) of each layer, views of `params`."""
        return self.spec.layers(self.params)

    def forward(self, inputs: Float[Tensor, "N I"]) -> Float[Tensor, "N O"]:
        """The outputs, a transposed view of a [O, N] buffer."""
        into = self.gradients if torch.is_grad_enabled() else None
        return mlp(inputs, self.params, self.spec, accumulate=into)

    def extra_repr(self) -> str:
        spec = self.spec
        sizes = " -> ".join(map(str, [spec.n_in, *[spec.width] * spec.n_hidden_layers, spec.n_out]))
        return f"{sizes}, {spec.activation}, output {spec.output_activation}{', bias' if spec.bias else ''}"
