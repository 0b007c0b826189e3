"""What trained fields of a few numbers per point share: values out of a checkpoint, facts for a report."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neural import checkpoint
from neural.encodings.probed_grid import ProbedHashGrid
from neural.errors import CheckpointError
from neural.train import session
from neural.train.restore import restore
from neural.train.tasks.field import growth
from neural.train.tasks.field.activation import activate_stored
from neural.train.tasks.field.encodings import build_field
from neural.train.trained import TrainedRun

CHUNK = 1 << 18  # points that are looked up at once


class FieldRun(TrainedRun):
    """A trained field with its folder.

    Attributes:
        field: Points in [0, 1]^D to values.
    """

    field: nn.Module

    def facts(self) -> dict[str, str]:
        """See `TrainedRun`."""
        return {
            "parameters": f"{sum(p.numel() for p in self.field.parameters()):,}",
            "encoding": str(self.config.model.encoding),
        }

    @property
    def device(self) -> torch.device:
        """Where the field is."""
        return next(self.field.parameters()).device


@torch.no_grad()
def look_up(field: nn.Module, x: Tensor, chunk: int = CHUNK) -> Tensor:
    """Values at any number of points [N, D] on the CPU, a bounded number at a time; [N, K] on the CPU."""
    device = next(field.parameters()).device
    parts = [field(part.to(device)).cpu() for part in x.split(chunk)]
    return torch.cat(parts) if len(parts) != 1 else parts[0]


def half_precision(field: nn.Module) -> bytes:
    """What a file of the field would hold: parameters as float16, of a probed grid's logits the codes in their bits,
    and which cells a grid has (a byte for each coordinate: there are at most 64 along an axis)."""
    parts = [cells.to(torch.uint8).numpy().tobytes() for cells in growth.cell_tensors(field).values()]
    for name, parameter in field.named_parameters():
        owner = field.get_submodule(name.rpartition(".")[0])
        if isinstance(owner, ProbedHashGrid) and parameter is owner.logits:
            n_bits = owner.n_probes.bit_length() - 1
            bits = np.unpackbits(owner.codes.cpu().numpy().reshape(-1, 1), axis=1, bitorder="little")
            parts.append(np.packbits(bits[:, :n_bits]).tobytes())
        else:
            parts.append(parameter.detach().cpu().half().numpy().tobytes())
    return b"".join(parts)


def stored_field(folder: Path, config: Any, n_dims: int, n_out: int, device: str) -> Any:
    """The field of a run's latest checkpoint, with averaged weights where there are any.

    Args:
        folder: Of the run.
        config: Resolved; has parts `model`, `optim` and `run`.
        n_dims: Of the positions.
        n_out: Values at each.
        device: Where to put it: auto, cpu or cuda.

    Raises:
        CheckpointError: None there, or of another field.
    """
    field = build_field(config.model, n_dims, n_out, seed=config.run.seed)
    tensors = checkpoint.load_latest(folder).tensors
    try:
        growth.lay_out(field, tensors)
        restore(field, tensors, config.optim.ema)
        activate_stored(field, config.model, tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return field.to(session.choose_device(device))
