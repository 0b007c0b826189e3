"""A field on metric grids: their features through the high-order extrapolation decoder."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural.cuda.gradients import GradientBuffer
from neural.cuda.mlp_spec import Activation
from neural.cuda.modulated_sine import modulated_sine
from neural.cuda.modulated_sine_spec import ModulatedSineSpec
from neural.cuda.reference.mlp import activate
from neural.encodings.metric_grids import MetricGrids


class ExtrapolationDecoder(nn.Module):
    """A sine network over the sum of the grids, each hidden layer modulated by a grid of its own.

    Products of sines of the grids' features supply orders that no grid stores. Formulas: `neural.cuda.modulated_sine`.
    Weights of the sine layers start as SIREN's (first +-1 / inputs, then +-sqrt(6 / inputs) / frequency, biases
    alike), those of the modulators as torch's linear layers (+-1 / sqrt(inputs)).

    Args:
        n_coordinates, n_features, n_out, width, n_hidden_layers, n_grids, frequency: As of `ModulatedSineSpec`.
        seed: Of the initial weights.

    Attributes:
        params: All weights in one float32 parameter; `maps()` gives views.
        spec: Sizes and layout.
        gradients: None, or a buffer that backward passes add into instead of `params.grad`.

    Raises:
        ValueError: A size that the kernels do not have.

    Source: MetricGrids, Wang et al. 2025, arXiv:2503.10000; Sitzmann et al. 2020, arXiv:2006.09661, section 3.2.
    """

    def __init__(
        self,
        n_coordinates: int,
        n_features: int,
        n_out: int,
        *,
        width: int = 64,
        n_hidden_layers: int = 4,
        n_grids: int = 3,
        frequency: float = 30.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.spec = ModulatedSineSpec(n_coordinates, n_features, n_out, width, n_hidden_layers, n_grids, frequency)
        self.params = nn.Parameter(torch.zeros(self.spec.n_params))
        self.gradients: GradientBuffer | None = None
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Draws the initial weights anew."""
        generator = torch.Generator().manual_seed(seed)
        fresh = torch.zeros(self.spec.n_params)
        for place, (weight, bias) in enumerate(self.spec.maps(fresh)):
            n_in = weight.shape[1]
            if place == 0:
                bound = 1 / n_in
            elif place % 2:
                bound = 1 / math.sqrt(n_in)
            else:
                bound = math.sqrt(6 / n_in) / self.spec.frequency
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)
        with torch.no_grad():
            self.params.copy_(fresh)

    def maps(self) -> list[tuple[Tensor, Tensor]]:
        """(matrix [outputs, inputs], bias [outputs]) of W_0, V_0, W_1, V_1, .., W_out, views of `params`."""
        return self.spec.maps(self.params)

    def forward(self, coordinates: Float[Tensor, "N X"], features: Float[Tensor, "M K"]) -> Float[Tensor, "N O"]:
        """The outputs, a transposed view of a [O, N] buffer; `features` are all of grid 0, then of grid 1, .."""
        into = self.gradients if torch.is_grad_enabled() else None
        return modulated_sine(coordinates, features, self.params, self.spec, accumulate=into)

    def extra_repr(self) -> str:
        spec = self.spec
        return (
            f"{spec.n_grids} x {spec.n_features} and {spec.n_coordinates} coordinates -> "
            f"{' -> '.join([str(spec.width)] * spec.n_hidden_layers)} -> {spec.n_out}, frequency {spec.frequency:g}"
        )


class MetricField(nn.Module):
    """Points in [0, 1]^D to values through metric grids and their decoder; called as `neural.fields.field.Field` is.

    Args:
        encoding: With `metrics="signal"` for the published form.
        n_out: Values per point.
        width: Neurons of each hidden layer: 16 to 128, a multiple of 16.
        n_hidden_layers: 1 to 8; 4 as published.
        output_activation: Of the values; see `neural.MLP`. None as published.
        seed: Of the decoder's initial weights.

    Attributes:
        encoding: As given.
        decoder: The network.

    Source: MetricGrids, Wang et al. 2025, arXiv:2503.10000.

    Example:
        >>> field = MetricField(MetricGrids(2), 3)
        >>> sum(p.numel() for p in field.parameters())
        206403
    """

    def __init__(
        self,
        encoding: MetricGrids,
        n_out: int,
        *,
        width: int = 64,
        n_hidden_layers: int = 4,
        output_activation: Activation = "none",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.encoding = encoding
        self.output_activation: Activation = output_activation
        self.decoder = ExtrapolationDecoder(
            encoding.n_dims, encoding.n_output_dims, n_out, width=width, n_hidden_layers=n_hidden_layers,
            n_grids=encoding.n_grids, seed=seed,
        )  # fmt: skip

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N O"]:
        """The values at points in [0, 1]^D."""
        values = self.decoder(x, self.encoding.features(x))
        if self.output_activation == "none":
            return values
        # in float64, whose rounding to float32 does not show how many threads torch has
        return activate(self.output_activation, values.double()).float()

    def extra_repr(self) -> str:
        return f"{sum(p.numel() for p in self.parameters())} parameters"
