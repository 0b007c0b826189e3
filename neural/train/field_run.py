"""What trained fields of a few numbers per point share: values out of a checkpoint, facts for a report."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neural import checkpoint
from neural.errors import CheckpointError
from neural.optim import saved_averages
from neural.train.field_groups import load_values
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


def restore(field: nn.Module, folder: Path, ema: float) -> Any:
    """Puts the values of a run's latest checkpoint into a field, averaged ones where there are any; gives the field.

    Raises:
        CheckpointError: None there, or of another field.
    """
    latest = checkpoint.load_latest(folder)
    averages = saved_averages(latest.tensors, ema)
    try:
        load_values(
            dict(field.named_parameters()),
            latest.tensors | {f"model/{name}": value for name, value in averages.items()},
        )
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return field
