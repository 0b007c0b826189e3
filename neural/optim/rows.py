"""State that follows parameters whose rows are copied, dropped, put in another order or appended."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from neural.cuda.adam import AdamState
from neural.cuda.gradients import GradientBuffer, resized


def reindex(
    state: AdamState, buffer: GradientBuffer | None, source: Int[Tensor, "M"], fresh: Bool[Tensor, "M"] | None
) -> None:
    """Of one parameter; see `Adam.reindex`."""
    for tensor in (state.exp_avg, state.exp_avg_sq, state.row_steps):
        if tensor is not None:
            tensor.data = tensor.index_select(0, source)
            if fresh is not None:
                tensor[fresh] = 0
    for tensor in (state.ema, state.ema_steps, state.working_copy):
        if tensor is not None:
            tensor.data = tensor.index_select(0, source)
    if buffer is not None:
        empty = GradientBuffer.like(state.exp_avg)
        buffer.grad.data, buffer.touched.data = empty.grad, empty.touched


def extend(param: Tensor, state: AdamState, steps: int) -> None:
    """Of one parameter after so many steps; see `Adam.extend`."""
    before = state.exp_avg.shape[0] if param.ndim else 0
    if not param.ndim or param.shape[0] == before:
        return
    for tensor in (state.exp_avg, state.exp_avg_sq, state.row_steps, state.ema, state.ema_steps):
        if tensor is not None:
            tensor.data = resized(tensor.data, param.shape[0])
    if state.ema is not None:
        state.ema[before:] = param[before:]
    if state.ema_steps is not None:
        state.ema_steps[before:] = steps


@torch.no_grad()
def extend_torch(optimiser: torch.optim.Optimizer) -> None:
    """`Adam.extend` for an optimiser of torch: every state tensor of a parameter's shape gets the rows that the
    parameter has grown, as zeros; old rows stay as they are. torch counts steps per parameter, so new rows have the
    step count (and the bias correction) of old ones.

    Raises:
        ValueError: A parameter has fewer rows than its state.
    """
    for param, state in optimiser.state.items():
        for name, value in state.items():
            if not isinstance(value, Tensor) or value.ndim != param.ndim or value.shape[1:] != param.shape[1:]:
                continue
            if value.ndim == 0 or value.shape[0] == param.shape[0]:
                continue
            if value.shape[0] > param.shape[0]:
                raise ValueError(f"extend_torch: {name} has {value.shape[0]} rows, its parameter {param.shape[0]}")
            state[name] = resized(value, param.shape[0])
