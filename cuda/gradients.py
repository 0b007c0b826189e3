"""Gradients that are kept between steps: kernels add into them and mark what they touched, Adam consumes both."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

BLOCK_ROWS = 64  # rows (entries of a table) per touched bit
WORD_ROWS = 64 * BLOCK_ROWS  # rows per int64 word


def resized(rows: Tensor, n_rows: int) -> Tensor:
    """A copy of `rows` with `n_rows` rows (axis 0): cut off, or with zeros appended."""
    result = rows.new_zeros((n_rows, *rows.shape[1:]))
    kept = min(n_rows, rows.shape[0])
    result[:kept] = rows[:kept]
    return result


@dataclass(frozen=True)
class GradientBuffer:
    """The preallocated gradient of one parameter [N, F].

    A backward pass that is given the buffer adds to `grad`, sets the bit of every block of 64 rows that it adds to,
    and returns no gradient to autograd. Where no bit is set the gradient is zero. `neural.cuda.adam` uses it up:
    after a step gradient and bits are clear again.

    Attributes:
        grad: fp32, zero where nothing was added.
        touched: Bit b of word w stands for the rows (64 w + b) 64 .. (64 w + b) 64 + 63.
    """

    grad: Float[Tensor, "N F"]
    touched: Int[Tensor, "W"]

    @classmethod
    def like(cls, param: Float[Tensor, "N F"]) -> "GradientBuffer":
        """An empty buffer for `param`, on its device."""
        n_words = -(-param.shape[0] // WORD_ROWS)
        return cls(
            torch.zeros_like(param, memory_format=torch.contiguous_format, requires_grad=False),
            torch.zeros(n_words, dtype=torch.int64, device=param.device),
        )

    def add(self, grad: Float[Tensor, "N F"]) -> None:
        """Adds a whole gradient and marks the blocks where it is not zero (for passes without marks of their own)."""
        self.grad.add_(grad)
        rows = (grad != 0).reshape(len(grad), -1).any(1)
        padded = torch.zeros(len(self.touched) * WORD_ROWS, dtype=torch.bool, device=rows.device)
        padded[: len(rows)] = rows
        bits = padded.reshape(-1, 64, BLOCK_ROWS).any(2).long()
        self.touched.bitwise_or_((bits << torch.arange(64, device=rows.device)).sum(1))

    def resize(self, n_rows: int) -> None:
        """Follows a parameter that has another number of rows now; what was added stays, to rows that exist."""
        self.grad.data = resized(self.grad.data, n_rows)
        self.touched.data = resized(self.touched.data, -(-n_rows // WORD_ROWS))

    def clear(self) -> None:
        """Forgets everything that was added."""
        self.grad.zero_()
        self.touched.zero_()


@dataclass(frozen=True)
class Blocks:
    """Which blocks of 64 rows a step works on, for gradients that exist for those alone.

    Attributes:
        touched: As in `GradientBuffer`.
        places: int32, per block of rows the number of the touched one; of others nothing is read.
    """

    touched: Int[Tensor, "W"]
    places: Int[Tensor, "B"]

    @classmethod
    def of(cls, chosen: Bool[Tensor, "B"]) -> "Blocks":
        """The chosen blocks, in order."""
        padded = torch.zeros(-(-len(chosen) // 64) * 64, dtype=torch.bool, device=chosen.device)
        padded[: len(chosen)] = chosen
        bits = padded.view(-1, 64).long() << torch.arange(64, device=chosen.device)
        return cls(bits.sum(1), (chosen.cumsum(0) - 1).int())
