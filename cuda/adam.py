"""Adam in one pass over the parameter: dense, or lazy for tables of which a step touches a part."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.gradients import BLOCK_ROWS, WORD_ROWS
from neural.cuda.native import lib, threads
from neural.cuda.reference import adam as reference

_COPY_KINDS = {torch.float16: 1, torch.bfloat16: 2}


@dataclass(frozen=True)
class AdamRule:
    """How to step.

    Attributes:
        lr: Learning rate.
        betas: Decay of the first and second moment.
        eps: Added to the root of the corrected second moment, as in torch.optim.Adam.
        l2: Times the parameter, added to the gradient (torch.optim.Adam's weight_decay).
        weight_decay: Decoupled decay per unit of lr (torch.optim.AdamW's weight_decay).
        ema_decay: Share of the old average that an average of the parameter keeps per step.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    l2: float = 0.0
    weight_decay: float = 0.0
    ema_decay: float = 0.95


@dataclass(frozen=True)
class AdamState:
    """What a step reads and rewrites beside the parameter; tensors have the parameter's shape unless said otherwise.

    Attributes:
        exp_avg: First moment, fp32.
        exp_avg_sq: Second moment, fp32.
        row_steps: Makes the step lazy: int32 [N], steps that each row (entry along axis 0) has made. A row whose
            gradient is all zero is left untouched, moments included, and the bias corrections count its own steps.
        working_copy: fp16 or bf16, rewritten with the new values. In a lazy step only blocks of 64 rows that hold a
            gradient are rewritten, so it must hold the parameter's values before the first.
        ema: fp32 average of the parameter over the steps.
        ema_steps: Lazy only, with `ema`: int32 [N], the step at which each row's average stands (see `settle`).
        nonfinite: int32 [1], raised by the number of Inf or NaN gradients; such elements are not updated.
    """

    exp_avg: Float[Tensor, "..."]
    exp_avg_sq: Float[Tensor, "..."]
    row_steps: Int[Tensor, "N"] | None = None
    working_copy: Tensor | None = None
    ema: Float[Tensor, "..."] | None = None
    ema_steps: Int[Tensor, "N"] | None = None
    nonfinite: Int[Tensor, "1"] | None = None


def adam(
    param: Float[Tensor, "..."],
    grad: Float[Tensor, "..."],
    state: AdamState,
    rule: AdamRule,
    step: int,
    *,
    touched: Int[Tensor, "W"] | None = None,
    places: Int[Tensor, "B"] | None = None,
    grad_scale: float = 1.0,
    clear_grad: bool = False,
) -> None:
    """One step of Adam, in place on `param` and everything in `state`.

    Args:
        param: fp32, contiguous.
        grad: Of the same shape; with `places` only the rows of touched blocks, one block of 64 after the other.
        state: Moments and options.
        rule: Rates.
        step: Number of this step, from 1; a dense step's bias corrections use it.
        touched: Lazy only: bits as in `GradientBuffer`. Blocks without a bit are skipped unread, and bits are cleared.
        places: With `touched`: int32, which block of `grad` holds the gradient of each touched block of rows.
        grad_scale: Multiplies the gradient first: 1 / loss scale.
        clear_grad: Leaves the gradient zero.

    Raises:
        TypeError, ValueError: A wrong dtype, shape, device or order of a tensor, a step below 1, `touched` without
            `row_steps`, or only one of `ema` and `ema_steps` in a lazy step.

    Source: Kingma and Ba 2015, arXiv:1412.6980, algorithm 1; Loshchilov and Hutter 2019, arXiv:1711.05101.
    """
    _check(param, grad, state, step, touched, places)
    arguments = (
        param, grad, state.exp_avg, state.exp_avg_sq, state.row_steps, touched, places, state.working_copy, state.ema,
        state.ema_steps, state.nonfinite, step, rule.lr, *rule.betas, rule.eps, rule.l2, rule.weight_decay,
        rule.ema_decay, grad_scale, clear_grad,
    )  # fmt: skip
    if torch.compiler.is_compiling():
        torch.ops.neural.adam(*arguments)
    else:
        _step(*arguments)


def rates(rule: AdamRule, step: int, lazy: bool) -> tuple[float, ...]:
    """The first eleven of `adam::Settings` (adam.cuh), as all kernels that step take them."""
    lr, (beta1, beta2) = rule.lr, rule.betas
    return (
        lr if lazy else lr / (1 - beta1**step), 1.0 if lazy else (1 - beta2**step) ** -0.5,
        beta1, 1 - beta1, _log(beta1), beta2, 1 - beta2, _log(beta2), rule.eps, rule.l2, 1 - lr * rule.weight_decay,
    )  # fmt: skip


def settle(param: Float[Tensor, "N ..."], state: AdamState, rule: AdamRule, step: int) -> None:
    """Brings a lazy average up to `step` in every row: a row that was skipped k times moves as k dense steps would.

    Call it before the average is used; skipped rows stand at an older step.
    """
    if state.ema is None or state.ema_steps is None:
        return
    shape = (-1,) + (1,) * (param.ndim - 1)
    late = (rule.ema_decay ** (step - state.ema_steps).double()).to(param.dtype).reshape(shape)
    with torch.no_grad():
        state.ema.sub_(param).mul_(late).add_(param)
    state.ema_steps.fill_(step)


def _step(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    row_steps: Tensor | None,
    touched: Tensor | None,
    places: Tensor | None,
    working_copy: Tensor | None,
    ema: Tensor | None,
    ema_steps: Tensor | None,
    nonfinite: Tensor | None,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    l2: float,
    weight_decay: float,
    ema_decay: float,
    grad_scale: float,
    clear_grad: bool,
) -> None:
    n = param.numel()
    if n == 0:
        return
    backend = checks.backend(param)
    if backend == "reference":
        with torch.no_grad():
            if places is not None and touched is not None:
                grad = reference.spread(param, grad, touched, places)
            reference.step(
                param, grad, exp_avg, exp_avg_sq, step=step, lr=lr, betas=(beta1, beta2), eps=eps, l2=l2,
                weight_decay=weight_decay, row_steps=row_steps, working_copy=working_copy, ema=ema,
                ema_steps=ema_steps, ema_decay=ema_decay, grad_scale=grad_scale, nonfinite=nonfinite,
            )  # fmt: skip
            for used in (grad if clear_grad else None, touched):
                if used is not None:
                    used.zero_()
        return
    lazy = row_steps is not None
    rows = param.shape[0] if lazy else n
    rule = AdamRule(lr, (beta1, beta2), eps, l2, weight_decay)
    settings = *rates(rule, step, lazy), grad_scale, ema_decay, 1 - ema_decay, _log(ema_decay)
    kind = 0 if working_copy is None else _COPY_KINDS[working_copy.dtype]
    if backend == "cpu":
        pointer = checks.pointer
        lib.adam_step(
            param.data_ptr(), grad.data_ptr(), exp_avg.data_ptr(), exp_avg_sq.data_ptr(), rows, n // rows, step,
            pointer(row_steps), pointer(touched), pointer(places), pointer(working_copy), kind, pointer(ema),
            pointer(ema_steps), pointer(nonfinite), int(clear_grad), *settings, threads(),
        )  # fmt: skip
    else:
        jit.launch(
            "adam", "adam_step", {"FEATURES": n // rows, "LAZY": int(lazy)}, rows,
            (param, grad, exp_avg, exp_avg_sq, rows, step, row_steps, touched, places, working_copy, kind, ema,
             ema_steps, nonfinite, int(clear_grad), *map(float, settings)),
        )  # fmt: skip
        if touched is not None:
            touched.zero_()


def _log(decay: float) -> float:
    """ln of a decay; a decay of 0 forgets at once."""
    return math.log(decay) if decay > 0 else -1e30


def _check(
    param: Tensor, grad: Tensor, state: AdamState, step: int, touched: Tensor | None, places: Tensor | None
) -> None:
    shape = tuple(getattr(param, "shape", ()))  # of any length: only what it is matters
    checks.require("adam", "param", param, shape)
    rows = shape[0] if shape else 1
    if places is not None:
        checks.require("adam", "grad", grad, ("M", *shape[1:]), device=param.device)
        checks.require("adam", "places", places, (-(-rows // BLOCK_ROWS),), torch.int32, param.device)
        if touched is None:
            raise ValueError("adam: places say where the gradient of touched blocks is; give touched too")
    for name, tensor in (
        ("grad", grad if places is None else None), ("exp_avg", state.exp_avg), ("exp_avg_sq", state.exp_avg_sq),
        ("ema", state.ema),
    ):  # fmt: skip
        if tensor is not None:
            checks.require_like("adam", name, tensor, param)
    for name, tensor, length in (
        ("row_steps", state.row_steps, rows), ("ema_steps", state.ema_steps, rows), ("nonfinite", state.nonfinite, 1),
    ):  # fmt: skip
        if tensor is not None:
            checks.require("adam", name, tensor, (length,), torch.int32, param.device)
    if state.working_copy is not None:
        checks.require("adam", "working_copy", state.working_copy, shape, tuple(_COPY_KINDS), param.device)
    if touched is not None:
        checks.require("adam", "touched", touched, (-(-rows // WORD_ROWS),), torch.int64, param.device)
    steps = ("touched", touched), ("places", places)
    for name, tensor in (("param", param), ("grad", grad), *vars(state).items(), *steps):
        if tensor is not None and not tensor.is_contiguous():
            raise ValueError(f"adam: {name} must be contiguous, got strides {tensor.stride()}; call .contiguous()")
    if step < 1:
        raise ValueError(f"adam: step counts from 1, got {step}")
    if touched is not None and state.row_steps is None:
        raise ValueError("adam: touched bits skip rows, which only a lazy step may do; give row_steps too")
    if state.row_steps is not None and (state.ema is None) != (state.ema_steps is None):
        raise ValueError("adam: a lazy average needs both ema and ema_steps")


library.define(
    "adam",
    "(Tensor(a!) param, Tensor(b!) grad, Tensor(c!) exp_avg, Tensor(d!) exp_avg_sq, Tensor(e!)? row_steps,"
    " Tensor(f!)? touched, Tensor? places, Tensor(g!)? working_copy, Tensor(h!)? ema, Tensor(i!)? ema_steps,"
    " Tensor(j!)? nonfinite,"
    " int step, float lr, float beta1, float beta2, float eps, float l2, float weight_decay, float ema_decay,"
    " float grad_scale, bool clear_grad) -> ()",
    implementation=_step,
    fake=lambda *args: None,
)
