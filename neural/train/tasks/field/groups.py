"""How the parameters of a field are stepped: tables lazily, both tables and networks through gradient buffers."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from neural.cuda.gradients import GradientBuffer
from neural.encodings.base import Tabled
from neural.encodings.probed_grid import ProbedHashGrid
from neural.fields.metric import ExtrapolationDecoder
from neural.mlp import MLP
from neural.optim import Adam, Group

NETWORKS = (MLP, ExtrapolationDecoder)  # whose only parameter takes its gradient in a buffer
DECODER_RATE = 0.1  # of a decoder of sines, over the other learning rates: thrice as much, and it does not train
LOGIT_RATE = 10.0  # of a probed grid's logits, over its table's: only their order has any effect


def field_groups(
    field: nn.Module, *, lr: float, l2: float, ema: float | None, table_lr: float | None = None, **shared: Any
) -> list[Group]:
    """A group per parameter; tables and networks get a gradient buffer, which `release_buffers` takes back.

    Args:
        field: Of encodings and networks.
        lr: Learning rate; a decoder of sines takes a tenth, as its frequency asks for.
        l2: Penalty on everything but encodings and decoders of sines.
        ema: Decay of the averages, None for none.
        table_lr: Learning rate of tables, if it is another; the logits of a probed grid take ten times their table's.
        shared: Further values for every group.
    """
    groups = []
    for name, parameter in field.named_parameters():
        owner: Any = field.get_submodule(name.rpartition(".")[0])
        is_table = isinstance(owner, Tabled) and parameter is owner.table
        buffers: dict[str, GradientBuffer] = {}
        copies: dict[str, Tensor] = {}
        if is_table or isinstance(owner, NETWORKS):
            buffers[name] = owner.gradients = GradientBuffer.like(parameter)
        if is_table and owner.working_copy is not None:
            copies[name] = owner.working_copy
        is_decoder = isinstance(owner, ExtrapolationDecoder)
        is_logits = isinstance(owner, ProbedHashGrid) and not is_table
        rate = table_lr if (is_table or is_logits) and table_lr is not None else lr
        rate *= DECODER_RATE if is_decoder else LOGIT_RATE if is_logits else 1.0
        groups.append(Group(
            {name: parameter}, lr=rate, l2=0.0 if is_table or is_decoder or is_logits else l2, ema=ema, lazy=is_table,
            buffers=buffers, working_copies=copies, **shared,
        ))  # fmt: skip
    return groups


def release_buffers(field: nn.Module) -> None:
    """Gives the field back as it came: gradients go to `.grad` again."""
    for module in _buffered(field):
        module.gradients = None


def averaged(field: nn.Module, optimiser: Adam) -> Any:
    """A copy of the field with the averaged weights; the field itself where nothing is averaged."""
    averages = optimiser.averages()
    if not averages:
        return field
    buffers: dict[int, Any] = {id(module.gradients): None for module in _buffered(field)}
    shown = copy.deepcopy(field, buffers)  # without the buffers of gradients
    with torch.no_grad():
        for name, parameter in shown.named_parameters():
            if name in averages:
                parameter.copy_(averages[name])
    return shown


def nonfinite_names(field: nn.Module) -> list[str]:
    """Parameters that hold NaN or Inf."""
    return [name for name, p in field.named_parameters() if not bool(torch.isfinite(p).all())]


def _buffered(field: nn.Module) -> Iterator[Any]:
    for module in field.modules():
        if isinstance(module, (Tabled, *NETWORKS)):
            yield module
