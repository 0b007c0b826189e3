"""Averages of parameters over the steps, as they are after the last one."""

from collections.abc import Mapping

from torch import Tensor

from neural.cuda.adam import AdamRule, AdamState, settle


def saved_averages(tensors: Mapping[str, Tensor], decay: float) -> dict[str, Tensor]:
    """What `Adam.averages` gave when `tensors` were saved.

    Args:
        tensors: Of a checkpoint: `Adam.state_dict` and the parameters as `model/<name>`.
        decay: `Group.ema` of the groups that keep averages.
    """
    return {
        name: settled(
            tensors[f"model/{name}"], ema, tensors.get(f"optim/{name}/ema_steps"), decay, int(tensors["optim/steps"])
        )
        for name, ema in ((key.removeprefix("ema/"), t) for key, t in tensors.items() if key.startswith("ema/"))
    }


def settled(param: Tensor, ema: Tensor, ema_steps: Tensor | None, decay: float, steps: int) -> Tensor:
    """A copy of an average, brought up to the last step in rows that lazy steps left out."""
    ema = ema.clone()
    if ema_steps is not None:
        state = AdamState(ema, ema, ema=ema, ema_steps=ema_steps.clone())
        settle(param, state, AdamRule(0.0, ema_decay=decay), steps)
    return ema
