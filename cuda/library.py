"""The `torch.library` face of every op: `torch.ops.neural.*`, so that torch.compile sees one node per op.

Eager code never comes through here (13 us a call); a public op function selects with
`torch.compiler.is_compiling()`. The implementation is the same function that the eager path calls.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

LIBRARY = torch.library.Library("neural", "DEF")
OPS: list[str] = []  # every defined op, for the opcheck test


def define(
    name: str,
    schema: str,
    *,
    implementation: Callable[..., Any],
    fake: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    save: Callable[..., None] | None = None,
) -> None:
    """Defines `neural::name`.

    Args:
        name: Op name.
        schema: Arguments and results, as in `(Tensor x, int degree) -> Tensor`.
        implementation: Runs on real tensors of any device.
        fake: Gives empty results of the right shape, dtype and strides.
        backward: `(ctx, *grads) -> grads of the inputs`, itself made of `torch.ops.neural.*`.
        save: `(ctx, inputs, output)`: keeps what `backward` needs.
    """
    LIBRARY.define(name + schema, tags=(torch.Tag.needs_fixed_stride_order,))
    LIBRARY.impl(name, implementation, "CompositeExplicitAutograd")
    torch.library.register_fake(f"neural::{name}", fake, lib=LIBRARY)
    if backward is not None:
        torch.library.register_autograd(f"neural::{name}", backward, setup_context=save, lib=LIBRARY)
    OPS.append(name)


def constants(*values: Any) -> Sequence[Any]:
    """Marks the non-tensor inputs in a backward's result: their gradient is None."""
    return tuple(None for _ in values)
