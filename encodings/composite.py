"""Several encodings as one, each on its own slice of the input: side by side, added or multiplied."""

import functools
import operator
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural.encodings.base import Encoding

Mode = Literal["concatenate", "sum", "product"]


class Composite(Encoding):
    """The features of its parts, concatenated, summed or multiplied.

        Composite([HashGrid(3), SphericalHarmonics(4)])            # positions in dims 0-2, directions in 3-5
        Composite([HashGrid(3), Frequency(3)], starts=[0, 0])      # both read the same three dimensions
        Composite([HashGrid(3), HashGrid(1)], mode="product")      # a function of space times one of time

    Args:
        parts: Encodings; part i reads the dimensions starts[i] .. starts[i] + parts[i].n_dims - 1.
        starts: First dimension of each part; by default one part begins where the previous ends.
        mode: `concatenate`, or `sum` or `product` of parts that give equally many features.

    Raises:
        ValueError: No part, wrong starts, an unknown mode, or parts of different widths to add or multiply.
    """

    parts: nn.ModuleList

    def __init__(
        self, parts: Sequence[nn.Module], starts: Sequence[int] | None = None, *, mode: Mode = "concatenate"
    ) -> None:
        if not parts:
            raise ValueError("Composite: give at least one encoding")
        if mode not in get_args(Mode):
            raise ValueError(f"Composite: mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
        dims, widths = [int(part.n_dims) for part in parts], [int(part.n_output_dims) for part in parts]  # type: ignore[arg-type]
        if starts is None:
            starts = [sum(dims[:i]) for i in range(len(parts))]
        if len(starts) != len(parts) or min(starts) < 0:
            raise ValueError(f"Composite: starts must be {len(parts)} dimensions from 0 on, got {list(starts)}")
        if mode != "concatenate" and len(set(widths)) > 1:
            raise ValueError(f"Composite: a {mode} needs parts with equally many features, got {widths}")
        ends = [start + n for start, n in zip(starts, dims, strict=True)]
        super().__init__(max(ends), sum(widths) if mode == "concatenate" else widths[0])
        self.parts = nn.ModuleList(parts)
        self.slices = tuple(zip(starts, ends, strict=True))
        self.mode: Mode = mode

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        if x.ndim != 2 or x.shape[1] != self.n_dims:
            raise ValueError(f"Composite: x must be [N, {self.n_dims}], got {list(x.shape)}")
        features = [part(x[:, start:end]).T for part, (start, end) in zip(self.parts, self.slices, strict=True)]
        if self.mode == "concatenate":
            return torch.cat(features).T
        return functools.reduce(operator.add if self.mode == "sum" else operator.mul, features).T

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.mode == "concatenate" else f", {self.mode}")
