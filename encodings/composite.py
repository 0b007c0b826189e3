"""Several encodings side by side, each on its own slice of the input."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural.encodings.base import Encoding


class Composite(Encoding):
    """Concatenates the features of its parts.

        Composite([HashGrid(3), SphericalHarmonics(4)])            # positions in dims 0-2, directions in 3-5
        Composite([HashGrid(3), Frequency(3)], starts=[0, 0])      # both read the same three dimensions

    Args:
        parts: Encodings; part i reads the dimensions starts[i] .. starts[i] + parts[i].n_dims - 1.
        starts: First dimension of each part; by default one part begins where the previous ends.
    """

    parts: nn.ModuleList

    def __init__(self, parts: Sequence[Encoding], starts: Sequence[int] | None = None) -> None:
        if not parts:
            raise ValueError("Composite: give at least one encoding")
        if starts is None:
            starts = [sum(part.n_dims for part in parts[:i]) for i in range(len(parts))]
        if len(starts) != len(parts) or min(starts) < 0:
            raise ValueError(f"Composite: starts must be {len(parts)} dimensions from 0 on, got {list(starts)}")
        ends = [start + part.n_dims for start, part in zip(starts, parts, strict=True)]
        super().__init__(max(ends), sum(part.n_output_dims for part in parts))
        self.parts = nn.ModuleList(parts)
        self.slices = tuple(zip(starts, ends, strict=True))

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        if x.ndim != 2 or x.shape[1] != self.n_dims:
            raise ValueError(f"Composite: x must be [N, {self.n_dims}], got {list(x.shape)}")
        features = [part(x[:, start:end]).T for part, (start, end) in zip(self.parts, self.slices, strict=True)]
        return torch.cat(features).T
