"""What a training of a field of a few numbers per point can be told: the parts that image, distance and volume share.

See `neural.train.config` for what None and "auto" mean. No torch.
"""

from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from neural.train.config import check_between, check_positive
from neural.train.tasks.field.encoding_config import EncodingConfig, check_encoding

WIDTHS = tuple(range(16, 129, 16))


@dataclass(frozen=True)
class FieldConfig(EncodingConfig):
    """The field: encoding and network."""

    width: int | None = None
    """Neurons in each hidden layer of the network, a multiple of 16 up to 128; 64, of an image 32."""
    hidden_layers: int | None = None
    """Hidden layers of the network, 1 to 8; 2, of an image 1, of "metric" 4."""


@dataclass(frozen=True)
class FieldOptimConfig:
    """Adam and its schedule."""

    lr: float = 1e-2
    """Adam's step size after the warm-up; a tenth of it for the decoder of "metric"."""
    table_lr: float | None = None
    """Adam's step size of the encoding's table, if it is another."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Adam's decay of the first and second moments."""
    eps: float = 1e-15
    """Adam's epsilon; tiny, because grid gradients are."""
    warmup_steps: int = 0
    """Steps over which the step size rises from 1 % to `lr`."""
    decay: Literal["milestones", "exponential", "none"] = "exponential"
    """How the step size falls: thrice to a third (at 1/2, 3/4, 9/10 of the run), smoothly, or not at all."""
    final_lr_ratio: float = 0.033
    """The last step size over `lr`, for the exponential decay."""
    l2: float = 1e-6
    """L2 penalty on the network's weights (not on the table)."""
    ema: float = 0.0
    """Decay of the averaged weights that are shown and saved for use; 0 for none."""


AnyField = TypeVar("AnyField", bound=FieldConfig)


def resolve_network(asked: AnyField, width: int = 64, hidden_layers: int = 2) -> AnyField:
    """The field with a network of the task's size where none is asked for; "metric" has one of its own.

    Source: of "metric" the published code's settings (five layers of 64).
    """
    if asked.encoding == "metric":
        width, hidden_layers = 64, 4
    return replace(asked, width=asked.width or width, hidden_layers=asked.hidden_layers or hidden_layers)


def check_field(model: FieldConfig, optim: FieldOptimConfig) -> None:
    """Refuses values that no field can use, naming the flag.

    Raises:
        ValueError: Out of range.
    """
    check_encoding(model)
    if model.width is not None and model.width not in WIDTHS:
        raise ValueError(f"--model.width must be one of {', '.join(map(str, WIDTHS))}, got {model.width}")
    check_between("model.hidden_layers", model.hidden_layers, 1, 8)
    for name in ("lr", "table_lr", "eps"):
        check_positive(f"optim.{name}", getattr(optim, name))
    for beta in optim.betas:
        check_between("optim.betas", beta, 0.0, 0.9999999)
    check_between("optim.ema", optim.ema, 0.0, 0.9999999)
    for name in ("l2", "final_lr_ratio"):
        check_between(f"optim.{name}", getattr(optim, name), 0.0, 1e9)
    check_between("optim.warmup_steps", optim.warmup_steps, 0, 1 << 30)
