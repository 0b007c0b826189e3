"""Parameters that are stepped alike, and the state that a step keeps of each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from neural.cuda.adam import AdamRule, AdamState
from neural.cuda.gradients import GradientBuffer


@dataclass(frozen=True)
class Group:
    """Parameters that are stepped alike.

    Attributes:
        params: Name -> fp32 parameter; names are unique over all groups and name the state in checkpoints.
        lr: Learning rate before `step`'s lr_scale.
        betas: Decay of the first and second moment.
        eps: Added to the root of the corrected second moment.
        l2: Times the parameter, added to the gradient.
        weight_decay: Decoupled decay per unit of learning rate.
        lazy: Rows (axis 0) whose gradient is all zero stay untouched and count their own steps.
        ema: Decay of an average of the parameters over the steps, None for none.
        buffers: Name -> `GradientBuffer` that backward passes add to; it replaces `.grad`, and counts as a gradient of
            zeros where nothing was added.
        working_copies: Name -> fp16 or bf16 tensor, rewritten with each step's values; not saved.
    """

    params: Mapping[str, Tensor]
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-15
    l2: float = 0.0
    weight_decay: float = 0.0
    lazy: bool = False
    ema: float | None = None
    buffers: Mapping[str, GradientBuffer] = field(default_factory=dict)
    working_copies: Mapping[str, Tensor] = field(default_factory=dict)


def new_state(group: Group, param: Tensor, working_copy: Tensor | None) -> AdamState:
    """State of a parameter that has never been stepped."""

    def zeros(*shape: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=param.device)

    rows = param.shape[0] if param.ndim else 1
    averaged = group.ema is not None
    return AdamState(
        zeros(*param.shape, dtype=torch.float32),
        zeros(*param.shape, dtype=torch.float32),
        zeros(rows, dtype=torch.int32) if group.lazy else None,
        working_copy,
        param.detach().clone() if averaged else None,
        zeros(rows, dtype=torch.int32) if averaged and group.lazy else None,
        zeros(1, dtype=torch.int32),
    )


def rule_of(group: Group, lr_scale: float) -> AdamRule:
    """What a step does to the parameters of a group."""
    return AdamRule(group.lr * lr_scale, group.betas, group.eps, group.l2, group.weight_decay, group.ema or 0.0)


def named(name: str, state: AdamState) -> Iterator[tuple[str, Tensor]]:
    """The state of a parameter as a checkpoint names it."""
    for key in ("exp_avg", "exp_avg_sq", "row_steps", "ema_steps", "nonfinite"):
        tensor = getattr(state, key)
        if tensor is not None:
            yield f"optim/{name}/{key}", tensor
    if state.ema is not None:
        yield f"ema/{name}", state.ema
