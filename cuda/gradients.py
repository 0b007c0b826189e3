"""A preallocated gradient that backward passes add into, with a mark of what they touched."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

ENTRIES_PER_BIT = 64


@dataclass(frozen=True)
class GradientBuffer:
    """Gradient of a table [E, F] for the training loop.

    `hash_grid(..., accumulate=buffer)` adds here instead of giving autograd a new tensor each step, and sets one bit
    per 64 entries that it wrote to; `adam` consumes both, clears them and skips what was not touched.
    """

    grad: Float[Tensor, "E F"]
    touched: Int[Tensor, " W"]  # int64 words; bit b of word w stands for entries 64 (64 w + b) .. + 63

    @staticmethod
    def like(table: Float[Tensor, "E F"]) -> "GradientBuffer":
        """A cleared buffer for `table`."""
        words = -(-table.shape[0] // (64 * ENTRIES_PER_BIT))
        return GradientBuffer(
            torch.zeros_like(table, dtype=torch.float32, requires_grad=False),
            torch.zeros(words, dtype=torch.int64, device=table.device),
        )

    def add(self, grad: Float[Tensor, "E F"]) -> None:
        """Adds a whole gradient and marks every entry."""
        self.grad.add_(grad)
        self.touched.fill_(-1)

    def clear(self) -> None:
        """Sets the gradient to zero and takes all marks away."""
        self.grad.zero_()
        self.touched.zero_()
