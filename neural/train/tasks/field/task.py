"""One training step of a field of a few numbers per point, and the state that it changes."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from neural.cuda.native import retain_heap
from neural.errors import DivergenceError
from neural.optim import Adam
from neural.train.loop import StepResult
from neural.train.restore import load_values
from neural.train.schedules import learning_rate
from neural.train.tasks.field import growth
from neural.train.tasks.field.activation import activate, activate_stored
from neural.train.tasks.field.groups import averaged, field_groups, nonfinite_names, release_buffers


@dataclass(frozen=True)
class Fit:
    """How well the field does on a step's points.

    Attributes:
        loss: What is followed downhill.
        count: Points.
        squared_error: Mean squared error for a peak of 1, for the PSNR; None where that means nothing.
        extra: Further scalars for metrics.jsonl.
    """

    loss: Tensor
    count: int
    squared_error: float | None = None
    extra: Mapping[str, float] | None = None


class FieldTask(ABC):
    """What image, distance and volume trainings share; see `neural.train.loop.Task`.

    A subclass says what a step compares (`fit`) and how a quick look goes (`validate`). Its draws are functions of
    (seed, step), so that the field and its optimiser are the whole state.

    Args:
        field: On the CPU; moved to `device`.
        config: Resolved; has parts `model` (`FieldConfig`), `optim` (`FieldOptimConfig`) and `run`.
        device: Where to train.
    """

    unit: ClassVar[str] = "points"
    """What a step counts."""

    def __init__(self, field: nn.Module, config: Any, device: torch.device) -> None:
        if device.type == "cpu":
            retain_heap()
        self.config, self.device = config, device
        self.field = field.to(device)
        optim = config.optim
        self.optimiser = Adam(
            field_groups(
                self.field, lr=optim.lr, table_lr=optim.table_lr, l2=optim.l2, ema=optim.ema or None,
                betas=optim.betas, eps=optim.eps,
            )
        )  # fmt: skip

    @abstractmethod
    def fit(self, step: int) -> Fit:
        """Draws the points of a step, looks the field up at them and compares."""

    @abstractmethod
    def validate(self, step: int) -> Mapping[str, float]:
        """See `neural.train.loop.Task`."""

    def at(self, points: Tensor) -> Tensor:
        """The field at a step's points; a grid that grows gets the cells that they need first."""
        if growth.grow(self.field, points):
            self.optimiser.extend()
        return self.field(points)

    def step(self, step: int, steps: int | None) -> StepResult:
        """One step: draw, compare, follow the gradient."""
        activate(self.field, self.config.model, self.optimiser.steps)
        fit = self.fit(step)
        fit.loss.backward()
        self.optimiser.step(learning_rate(step, steps, self.config.optim) / self.config.optim.lr)
        for parameter in self.field.parameters():  # buffers come back empty from the step
            parameter.grad = None
        bad = self.optimiser.nonfinite()
        if bad:
            raise self._diverged(step, f"the gradient of {next(iter(bad))} has NaN or Inf")
        error = fit.squared_error
        ratio = None if error is None else -10 * math.log10(max(error, 1e-12))
        return StepResult(float(fit.loss.detach()), ratio, fit.count, fit.extra or {}, self.unit)

    def tensors(self) -> dict[str, Tensor]:
        """Field and optimiser."""
        values = {f"model/{name}": p.detach() for name, p in self.field.named_parameters()}
        return values | growth.cell_tensors(self.field) | self.optimiser.state_dict()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes back what `tensors` gave.

        Raises:
            CheckpointError: They are of another field or optimiser.
        """
        growth.lay_out(self.field, tensors)
        load_values(dict(self.field.named_parameters()), tensors)
        self.optimiser.load_state_dict(tensors)
        activate_stored(self.field, self.config.model, tensors)

    def steps_for(self, seconds: float, step: int, pace: float) -> int:
        """Every further step costs what one does by now."""
        return step + round(seconds / pace)

    def release(self) -> None:
        """Gives the field back as it came."""
        release_buffers(self.field)

    def averaged_field(self) -> Any:
        """What is shown: the field, with averaged weights where averaging is on."""
        return averaged(self.field, self.optimiser)

    def _diverged(self, step: int, what: str) -> DivergenceError:
        names = nonfinite_names(self.field)
        return DivergenceError(step, what + (f" (not finite: {', '.join(names)})" if names else ""))
