"""Sizes, activations and parameter layout of the fused MLP."""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

Activation = Literal["none", "relu", "leaky_relu", "silu", "softplus", "sine", "sigmoid", "exp"]
ACTIVATIONS: tuple[str, ...] = get_args(Activation)  # position = code, the enum of mlp.cuh

MAX_WIDTH = 128
MAX_HIDDEN_LAYERS = 8


@dataclass(frozen=True)
class MLPSpec:
    """Sizes and activations of a network, and where its layers lie in the flat parameter.

    Attributes:
        n_in: Inputs, at least 1.
        n_out: Outputs, at least 1.
        width: Neurons of each hidden layer: 16 to 128, a multiple of 16.
        n_hidden_layers: 1 to 8.
        activation: Of the hidden layers. Leaky ReLU has slope 0.01; sine is sin(frequency z).
        output_activation: Of the outputs, from the same list.
        bias: Whether layers have a bias.
        frequency: Of every sine, radians per unit.
    """

    n_in: int
    n_out: int
    width: int = 64
    n_hidden_layers: int = 2
    activation: Activation = "relu"
    output_activation: Activation = "none"
    bias: bool = False
    frequency: float = 1.0

    def __post_init__(self) -> None:
        for name in ("n_in", "n_out"):
            if getattr(self, name) < 1:
                raise ValueError(f"mlp: {name} must be at least 1, got {getattr(self, name)}")
        if not (16 <= self.width <= MAX_WIDTH and self.width % 16 == 0):
            nearest = min(MAX_WIDTH, max(16, (self.width + 15) // 16 * 16))
            raise ValueError(f"mlp: width must be a multiple of 16 from 16 to 128, got {self.width}; use {nearest}")
        if not 1 <= self.n_hidden_layers <= MAX_HIDDEN_LAYERS:
            raise ValueError(f"mlp: n_hidden_layers must be 1 to {MAX_HIDDEN_LAYERS}, got {self.n_hidden_layers}")
        for name in ("activation", "output_activation"):
            if getattr(self, name) not in ACTIVATIONS:
                known = ", ".join(ACTIVATIONS)
                raise ValueError(f"mlp: unknown {name} {getattr(self, name)!r}; choose one of: {known}")
        if not (math.isfinite(self.frequency) and self.frequency > 0):
            raise ValueError(f"mlp: frequency must be positive and finite, got {self.frequency}")
        _ = self.code  # kept from now on: torch.compile cannot trace the first look at a cached property

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(outputs, inputs) of each layer."""
        sizes = [self.n_in, *[self.width] * self.n_hidden_layers, self.n_out]
        return tuple((n_out, n_in) for n_in, n_out in pairwise(sizes))

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each layer begins in the parameter: W [outputs, inputs] row-major, then b [outputs] if any."""
        starts = [0]
        for n_out, n_in in self.shapes:
            starts.append(starts[-1] + n_out * (n_in + self.bias))
        return tuple(starts[:-1])

    @cached_property
    def n_params(self) -> int:
        """Length of the flat parameter."""
        return sum(n_out * (n_in + self.bias) for n_out, n_in in self.shapes)

    @cached_property
    def code(self) -> tuple[int, ...]:
        """What kernels take: n_in, n_out, width, n_hidden, bias, activation, output_activation."""
        activations = ACTIVATIONS.index(self.activation), ACTIVATIONS.index(self.output_activation)
        return self.n_in, self.n_out, self.width, self.n_hidden_layers, int(self.bias), *activations

    @cached_property
    def defines(self) -> dict[str, int]:
        """What specialises the CUDA kernels."""
        names = ("N_IN", "N_OUT", "WIDTH", "N_HIDDEN", "BIAS", "ACTIVATION", "OUTPUT_ACTIVATION")
        return dict(zip(names, self.code, strict=True))

    def layers(self, params: Float[Tensor, "P"]) -> list[tuple[Tensor, Tensor | None]]:
        """Views (W [outputs, inputs], b [outputs] or None) of each layer in a parameter or its gradient."""
        views = []
        for (n_out, n_in), start in zip(self.shapes, self.offsets, strict=True):
            end = start + n_out * n_in
            views.append((params[start:end].view(n_out, n_in), params[end : end + n_out] if self.bias else None))
        return views


@lru_cache(maxsize=64)
def spec_of(code: tuple[int, ...], frequency: float) -> MLPSpec:
    """The spec with this `code`."""
    n_in, n_out, width, n_hidden, bias, activation, output_activation = code
    hidden, output = ACTIVATIONS[activation], ACTIVATIONS[output_activation]
    return MLPSpec(n_in, n_out, width, n_hidden, hidden, output, bool(bias), frequency)  # type: ignore[arg-type]
