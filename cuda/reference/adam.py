"""Adam in plain torch, row by row where lazy: oracle of the tests and path of devices without kernels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK_ROWS = 64  # of a touched bit


def step(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    l2: float,
    weight_decay: float,
    row_steps: Tensor | None = None,
    working_copy: Tensor | None = None,
    ema: Tensor | None = None,
    ema_steps: Tensor | None = None,
    ema_decay: float = 0.0,
    grad_scale: float = 1.0,
    nonfinite: Tensor | None = None,
) -> None:
    """Updates all given tensors in place; meanings as in `neural.cuda.adam`."""
    finite = torch.isfinite(grad)
    if nonfinite is not None:
        nonfinite += (~finite).sum().to(nonfinite.dtype)
    counts: Tensor | float = float(step)
    late: Tensor | float = 1.0
    active = torch.ones_like(finite)
    if row_steps is not None:
        rows = (grad != 0).flatten(1).any(1)
        row_steps += rows
        shape = (-1,) + (1,) * (grad.ndim - 1)
        active = rows.reshape(shape).expand_as(grad)
        counts = row_steps.clamp(min=1).reshape(shape).to(param.dtype)
        if ema_steps is not None:
            late = ema_decay ** (step - 1 - ema_steps).reshape(shape).to(param.dtype)
            ema_steps[rows] = step
    update = active & finite
    g = torch.where(finite, grad, 0.0) * grad_scale + l2 * param
    m = betas[0] * exp_avg + (1 - betas[0]) * g
    v = betas[1] * exp_avg_sq + (1 - betas[1]) * g * g
    denominator = v.sqrt() / (1 - betas[1] ** counts) ** 0.5 + eps
    new = (1 - lr * weight_decay) * param - lr / (1 - betas[0] ** counts) * m / denominator
    old = param.clone()
    for target, value in ((param, new), (exp_avg, m), (exp_avg_sq, v)):
        target.copy_(torch.where(update, value, target))
    if ema is not None:
        moved = ema_decay * (old + late * (ema - old)) + (1 - ema_decay) * param
        ema.copy_(torch.where(active, moved, ema))
    if working_copy is not None:
        working_copy.copy_(param)


def spread(
    param: Float[Tensor, "N ..."], grad: Float[Tensor, "M ..."], touched: Int[Tensor, "W"], places: Int[Tensor, "B"]
) -> Float[Tensor, "N ..."]:
    """The gradient of all rows, of which `grad` has the touched blocks."""
    whole = torch.zeros_like(param)
    bits = (touched[:, None] >> torch.arange(64, device=touched.device)) & 1
    for block in bits.flatten()[: len(places)].nonzero()[:, 0].tolist():
        rows = slice(block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, len(param)))
        first = int(places[block]) * BLOCK_ROWS
        whole[rows] = grad[first : first + rows.stop - rows.start]
    return whole
