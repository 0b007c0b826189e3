"""Adam's next step, handed to the backward passes that compute the gradients for it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from neural.cuda import checks
from neural.cuda.adam import AdamRule, AdamState, rates

_NOT_STEPPED = (None,) * 5 + (0.0,) * 11


@dataclass
class ParameterStep:
    """The next step of one parameter.

    Attributes:
        param: fp32, contiguous.
        state: Moments; without averages and working copy.
        rule: Rates of this step.
        number: Of this step, from 1.
        penalty: Weight of the parameter's activated values (opacities, scales) in the loss: their gradient is added to
            the one that the pass computes.
        largest: Activated value from which on there is no penalty.
        unseen: The penalty is also for what the view does not see.
        made: It has been made, here or by the optimiser: another gradient comes too late.
    """

    param: Tensor
    state: AdamState
    rule: AdamRule
    number: int
    penalty: float = 0.0
    largest: float = math.inf
    unseen: bool = False
    made: bool = False

    def arguments(self) -> tuple[Any, ...]:
        """As kernels take it: ADAM_PARAMETERS in adam_in_backward.cuh."""
        state = self.state
        return (
            self.param, state.exp_avg, state.exp_avg_sq, state.row_steps, state.nonfinite,
            *map(float, rates(self.rule, self.number, state.row_steps is not None)),
        )  # fmt: skip

    def finish(self) -> None:
        """After the launch of the kernel that makes it."""
        self.made = True
        increment_version((self.param,))  # which the kernel wrote where torch does not see it


Steps = Mapping[str, ParameterStep | None]  # None: its gradient is wanted


class BackwardSteps:
    """What `neural.optim.Adam.in_backward` hands to the ops of one view.

    An op that is given it moves the parameters that it holds, in the kernel of its backward pass that has their
    gradients, and returns none to autograd for them. CUDA only.

    Where `gaussian_color` and `project` both read the means, their gradient is whole only when both backward passes
    have run. So `project` gives the means on as an output of its own, which `gaussian_color` reads: autograd then
    brings the gradient through the colours to the backward pass of the projection, which adds its own and moves them.

    Args:
        steps: By name of the op's argument.
    """

    def __init__(self, steps: Mapping[str, ParameterStep]) -> None:
        self._steps = dict(steps)
        self._passed_on: tuple[Tensor, Tensor] | None = None

    def of(self, op: str, **tensors: Tensor) -> Steps:
        """The steps of an op's arguments.

        Raises:
            ValueError: An argument is another tensor than the optimiser's, not contiguous or not on a GPU; or
                torch.compile traces.
        """
        if torch.compiler.is_compiling():
            raise ValueError(f"{op}: in_backward is not for torch.compile; leave it out there")
        found = {name: self._steps.get(name) for name in tensors}
        for name, step in found.items():
            if step is None:
                continue
            if step.param is not tensors[name]:
                raise ValueError(f"{op}: in_backward steps another tensor than {name}; give the optimiser's parameter")
            if checks.backend(step.param) != "cuda":
                raise ValueError(f"{op}: only CUDA kernels step in the backward pass; {name} is on {step.param.device}")
            if not step.param.is_contiguous():
                raise ValueError(f"{op}: {name} must be contiguous to be stepped, got strides {step.param.stride()}")
        return found

    def penalise(self, name: str, weight: float, largest: float = math.inf, *, unseen: bool = False) -> None:
        """Adds `weight` times the sum of a parameter's activated values to the loss; before its backward pass.

        Args:
            name: `opacity_logits` or `log_scales`.
            weight: Of the opacities or the standard deviations of the Gaussians that are seen.
            largest: Value from which on there is no penalty.
            unseen: Of those that are not seen too.

        Raises:
            KeyError: The parameter is none that the backward pass steps.
        """
        step = self._steps[name]
        step.penalty, step.largest, step.unseen = weight, largest, unseen

    def pass_on(self, means: Tensor, output: Tensor) -> None:
        """`output` stands for `means` from here on."""
        self._passed_on = means, output

    def reading(self, means: Tensor) -> Tensor:
        """What an op reads in place of `means`."""
        return self._passed_on[1] if self._passed_on is not None and self._passed_on[0] is means else means


def begin(op: str, steps: Steps) -> None:
    """Before the kernel that makes them.

    Raises:
        RuntimeError: One has been made already.
    """
    for name, step in steps.items():
        if step is not None and step.made:
            raise RuntimeError(
                f"{op}: the step of {name} has been made; in_backward serves one backward pass of one view, "
                "sum the gradients of several without it"
            )


def arguments(steps: Steps) -> list[Any]:
    """Of all of them, in order, as kernels take them."""
    return [value for step in steps.values() for value in (_NOT_STEPPED if step is None else step.arguments())]


def penalty(step: ParameterStep | None) -> tuple[float, float, int]:
    """Weight, largest value, and whether of what is not seen too; none where the gradient is wanted."""
    return (0.0, 0.0, 0) if step is None else (step.penalty, step.largest, int(step.unseen))


def finish(steps: Steps) -> None:
    """After the launch of the kernel that makes them."""
    for step in steps.values():
        if step is not None:
            step.finish()
