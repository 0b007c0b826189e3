"""Values out of a checkpoint, back into what they were taken from."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from neural.errors import CheckpointError
from neural.optim import saved_averages


def restore(field: nn.Module, tensors: Mapping[str, Tensor], ema: float) -> None:
    """Copies a checkpoint's values into a field, averaged ones where there are any.

    Args:
        field: Of the kind that was trained.
        tensors: Of the checkpoint.
        ema: Decay of the averages, 0 for none.

    Raises:
        CheckpointError: It is of another field.
    """
    averages = {f"model/{name}": value for name, value in saved_averages(tensors, ema).items()}
    load_values(dict(field.named_parameters()), {**tensors, **averages})


def load_values(parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copies a checkpoint's `model/<name>` into parameters.

    Raises:
        CheckpointError: One is missing or of another shape; nothing has changed then.
    """
    for name, parameter in parameters.items():
        saved = tensors.get(f"model/{name}")
        if saved is None or saved.shape != parameter.shape:
            found = "none" if saved is None else str(list(saved.shape))
            raise CheckpointError(
                f"the checkpoint is of another field: {name} must be {list(parameter.shape)}, it has {found}; "
                "pass the field that was trained, or start anew with --overwrite"
            )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"model/{name}"])
