"""Steps that are handed to backward passes, from one `Adam.step` to the next."""

from collections.abc import Mapping

from torch import Tensor

from neural.cuda.adam import AdamRule
from neural.cuda.adam_in_backward import BackwardSteps, ParameterStep


class HandedSteps:
    """Parameters whose next step a backward pass may make, by name."""

    def __init__(self) -> None:
        self._steps: dict[str, ParameterStep] = {}

    def begin(self) -> None:
        """Ends what was handed out before.

        Raises:
            RuntimeError: Parameters have been moved by a backward pass since the last `step`.
        """
        if moved := sorted(name for name, step in self._steps.items() if step.made):
            raise RuntimeError(f"Adam.in_backward: {moved} have been moved since the last step; call step() first")
        self.close()

    def hand(self, steps: Mapping[str, ParameterStep]) -> BackwardSteps:
        """What the ops are given."""
        self._steps = dict(steps)
        return BackwardSteps(self._steps)

    def made(self, rules: Mapping[str, AdamRule], grad_scale: float, parts: Mapping[str, Tensor]) -> frozenset[str]:
        """Parameters that backward passes have moved; what they were handed is over, used or not.

        Raises:
            ValueError: One has another gradient too, or should have been moved otherwise.
        """
        made = {name: step for name, step in self._steps.items() if step.made}
        for name, step in made.items():
            if step.param.grad is not None or name in parts:
                raise ValueError(
                    f"Adam.step: {name!r} has been moved by its backward pass and has another gradient, which came too "
                    "late; leave it out of in_backward where more than one view or term reads it"
                )
            if rules[name] != step.rule or grad_scale != 1.0:
                raise ValueError(
                    f"Adam.step: {name!r} has been moved by its backward pass with {step.rule}; step() must be told "
                    f"the same rates and no grad_scale, got {rules[name]} and {grad_scale}"
                )
        self.close()
        return frozenset(made)

    def close(self) -> None:
        """Ends what was handed to backward passes: one that comes later is refused."""
        for step in self._steps.values():
            step.made = True
        self._steps = {}
