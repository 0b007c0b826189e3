"""Sizes and parameter layout of the modulated sine network."""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

from jaxtyping import Float
from torch import Tensor

from neural.cuda.mlp_spec import MAX_HIDDEN_LAYERS, MAX_WIDTH

MAX_GRIDS = 8


@dataclass(frozen=True)
class ModulatedSineSpec:
    """Sizes of the network, and where its weights lie in the flat parameter.

    Attributes:
        n_coordinates: What modulates the first layer, at least 1.
        n_features: Features of each grid, at least 1.
        n_out: Outputs, at least 1.
        width: Neurons of each hidden layer: 16 to 128, a multiple of 16.
        n_hidden_layers: 1 to 8. Layer i > 0 is modulated by grid i - 1, or by the last.
        n_grids: 1 to 8.
        frequency: w of sin(w z), radians per unit.
    """

    n_coordinates: int
    n_features: int
    n_out: int
    width: int = 64
    n_hidden_layers: int = 4
    n_grids: int = 3
    frequency: float = 30.0

    def __post_init__(self) -> None:
        for name in ("n_coordinates", "n_features", "n_out"):
            if getattr(self, name) < 1:
                raise ValueError(f"modulated_sine: {name} must be at least 1, got {getattr(self, name)}")
        if self.width % 16 or not 16 <= self.width <= MAX_WIDTH:
            raise ValueError(f"modulated_sine: width must be a multiple of 16 from 16 to {MAX_WIDTH}, got {self.width}")
        for name, most in (("n_hidden_layers", MAX_HIDDEN_LAYERS), ("n_grids", MAX_GRIDS)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"modulated_sine: {name} must be 1 to {most}, got {getattr(self, name)}")
        if not (math.isfinite(self.frequency) and self.frequency > 0):
            raise ValueError(f"modulated_sine: frequency must be positive and finite, got {self.frequency}")
        _ = self.code  # kept from now on: torch.compile cannot trace the first look at a cached property

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(outputs, inputs) of W_0, V_0, W_1, V_1, .., W_out."""
        shapes = []
        for layer in range(self.n_hidden_layers):
            shapes.append((self.width, self.width if layer else self.n_features))
            shapes.append((self.width, self.n_features if layer else self.n_coordinates))
        return *shapes, (self.n_out, self.width)

    @cached_property
    def n_params(self) -> int:
        """Length of the flat parameter."""
        return sum(n_out * (n_in + 1) for n_out, n_in in self.shapes)

    @cached_property
    def code(self) -> tuple[int, ...]:
        """What kernels take: n_coordinates, n_features, n_grids, n_out, width, n_hidden."""
        return self.n_coordinates, self.n_features, self.n_grids, self.n_out, self.width, self.n_hidden_layers

    @cached_property
    def defines(self) -> dict[str, int]:
        """What specialises the CUDA kernels."""
        names = ("N_COORDINATES", "N_FEATURES", "N_GRIDS", "N_OUT", "WIDTH", "N_HIDDEN")
        return dict(zip(names, self.code, strict=True))

    def grid_of(self, layer: int) -> int:
        """The grid that modulates hidden layer `layer` >= 1."""
        return min(layer - 1, self.n_grids - 1)

    def maps(self, params: Float[Tensor, "P"]) -> list[tuple[Tensor, Tensor]]:
        """Views (matrix [outputs, inputs], bias [outputs]) of W_0, V_0, W_1, V_1, .., W_out."""
        views, start = [], 0
        for n_out, n_in in self.shapes:
            end = start + n_out * n_in
            views.append((params[start:end].view(n_out, n_in), params[end : end + n_out]))
            start = end + n_out
        return views


@lru_cache(maxsize=64)
def spec_of(code: tuple[int, ...], frequency: float) -> ModulatedSineSpec:
    """The spec with this `code`."""
    n_coordinates, n_features, n_grids, n_out, width, n_hidden = code
    return ModulatedSineSpec(n_coordinates, n_features, n_out, width, n_hidden, n_grids, frequency)
