"""Which levels of a field's grids take part at a step: coarse ones first, where that is asked for."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from neural.encodings.pooled_table import PooledTable
from neural.encodings.progressive import cosine_window, step_schedule
from neural.train.tasks.field.encoding_config import EncodingConfig

FIRST_LEVELS = 4  # of "step", as instant-nsr-pl and Neuralangelo begin


def activate(field: nn.Module, config: EncodingConfig, step: int) -> None:
    """Sets the level weights of all grids of a field for a step; leaves them alone where nothing is asked for."""
    if config.activation == "none":
        return
    for module in field.modules():
        if isinstance(module, PooledTable):
            module.level_weights = weights(config, step, module.n_levels)


def activate_stored(field: nn.Module, config: EncodingConfig, tensors: Mapping[str, Tensor]) -> None:
    """As `activate`, for the last step that a checkpoint has seen: a field is shown as it was trained."""
    if config.activation != "none":
        activate(field, config, max(0, int(tensors["optim/steps"]) - 1))


def weights(config: EncodingConfig, step: int, n_levels: int) -> Float[Tensor, "L"] | None:
    """A factor per level, None where all count in full, as from step `activation_steps` on.

    "step" begins with four levels and adds one after equal numbers of steps; "cosine" is the window of PermutoSDF,
    which begins with three tenths of the levels. See `neural.encodings.progressive`.

    Args:
        config: With a schedule.
        step: Of training, from 0.
        n_levels: Of the grid.
    """
    n_steps = config.activation_steps
    if step >= n_steps:
        return None
    if config.activation == "cosine":
        return cosine_window(step, n_levels, n_steps=n_steps)
    start = min(FIRST_LEVELS, n_levels)
    return step_schedule(step, n_levels, start=start, every=max(1, n_steps // max(1, n_levels - start)))
