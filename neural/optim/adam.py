"""The optimiser: one fused pass for each parameter, gradient buffers consumed, state as flat named tensors."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.autograd.graph import increment_version

from neural.cuda import checks
from neural.cuda.adam import AdamState, adam
from neural.cuda.adam_in_backward import BackwardSteps, ParameterStep
from neural.cuda.gradients import Blocks
from neural.errors import CheckpointError
from neural.optim import rows
from neural.optim.averages import settled
from neural.optim.group import Group, named, new_state, rule_of
from neural.optim.handed import HandedSteps


class Adam:
    """Adam over groups of parameters.

    Args:
        groups: What to step and how.

    Raises:
        ValueError: A name occurs twice, or a buffer or working copy names no parameter of its group.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = tuple(groups)
        self.steps = 0
        self._states: dict[str, AdamState] = {}
        self._handed = HandedSteps()
        for group in self.groups:
            for name in {*group.buffers, *group.working_copies} - {*group.params}:
                raise ValueError(f"Adam: {name!r} has a buffer or working copy but is no parameter of its group")
            for name, param in group.params.items():
                if name in self._states:
                    raise ValueError(f"Adam: parameter name {name!r} occurs twice; names must be unique")
                self._states[name] = new_state(group, param, group.working_copies.get(name))
                if name in group.working_copies:
                    group.working_copies[name].copy_(param.detach())
                    increment_version((param,))  # both were written: neither is newer

    def step(
        self,
        lr_scale: float = 1.0,
        *,
        grad_scale: float = 1.0,
        lr_scales: Mapping[str, float] | None = None,
        parts: Mapping[str, Tensor] | None = None,
        blocks: Blocks | None = None,
    ) -> None:
        """Updates every parameter that has a gradient; gradient buffers come back empty.

        Args:
            lr_scale: Multiplies all learning rates: the schedule's value at this step.
            grad_scale: Multiplies all gradients first: 1 / loss scale.
            lr_scales: Name of a parameter -> what its rate is multiplied by as well.
            parts: Name of a parameter of a lazy group -> gradient of the rows of `blocks` alone, in place of its own.
            blocks: Which rows those are; needed with `parts`.

        Raises:
            ValueError: A parameter has been moved by its backward pass (`in_backward`), but also has a gradient from
                elsewhere, or should have been moved otherwise, or a parameter has grown; nothing has been stepped then.
        """
        rules = {
            name: rule_of(group, lr_scale * (lr_scales or {}).get(name, 1.0)) for group, name, _, _ in self._each()
        }
        self._require_rows()
        made = self._handed.made(rules, grad_scale, parts or {})
        self.steps += 1
        with torch.no_grad():
            for group, name, param, state in self._each():
                if name in made:
                    continue
                buffer = group.buffers.get(name)
                grad = param.grad if buffer is None else buffer.grad
                touched = buffer.touched if buffer is not None and group.lazy else None
                places = None
                if parts is not None and blocks is not None and name in parts:
                    grad, touched, places = parts[name], blocks.touched.clone(), blocks.places
                if grad is None:
                    continue
                adam(
                    param.detach(), grad.contiguous(), state, rules[name], self.steps, touched=touched, places=places,
                    grad_scale=grad_scale, clear_grad=buffer is not None,
                )  # fmt: skip
                if buffer is not None and not group.lazy:
                    buffer.touched.zero_()
                written = (param, state.working_copy) if state.working_copy is not None else (param,)
                increment_version(written)  # the kernels write where torch does not see it

    def in_backward(
        self, names: Iterable[str], lr_scale: float = 1.0, *, lr_scales: Mapping[str, float] | None = None
    ) -> BackwardSteps | None:
        """Hands the next step of some parameters to the backward passes of `project` and `gaussian_color`.

        The kernels that compute the gradients then use them up where they are, so that these take no memory and are
        neither written nor read. `step` follows as always: it finds those parameters done and steps the others. It is
        the same step only if the gradient of one backward pass is all of it: of one view, without another term of the
        loss that reads the parameters, and unscaled.

        Args:
            names: Parameters, named as the arguments of the ops.
            lr_scale: As `step` will be told.
            lr_scales: As `step` will be told.

        Returns:
            What the ops of this step's view are given; None on a CPU, whose steps are bound by blending: Adam takes 3 %
            of one with 100 000 Gaussians, 7 % with a million, and a part of that could be saved.

        Raises:
            KeyError: A name is no parameter of this optimiser.
            ValueError: A parameter has a gradient buffer, an average or a working copy, which only `step` sees to.
            RuntimeError: Parameters have been moved by a backward pass since the last `step`.
        """
        wanted = set(names)
        self._require_known("in_backward", wanted)
        self._handed.begin()
        handed = {}
        for group, name, param, state in self._each():
            if name not in wanted or not param.requires_grad:
                continue
            if name in group.buffers or state.ema is not None or state.working_copy is not None:
                raise ValueError(
                    f"Adam.in_backward: {name!r} has a buffer, average or working copy; leave it to step()"
                )
            if checks.backend(param) != "cuda":
                return None
            rule = rule_of(group, lr_scale * (lr_scales or {}).get(name, 1.0))
            handed[name] = ParameterStep(param, state, rule, self.steps + 1)
        return self._handed.hand(handed)

    def zero_grad(self) -> None:
        """Forgets all gradients; needed for `.grad` after each step, for buffers only if a step was left out."""
        for group, name, param, _ in self._each():
            param.grad = None
            if name in group.buffers:
                group.buffers[name].clear()

    def nonfinite(self) -> dict[str, int]:
        """Parameters that met Inf or NaN gradients since the last call, and how many; such elements did not move."""
        found = {}
        for name, state in self._states.items():
            assert state.nonfinite is not None
            if count := int(state.nonfinite):
                found[name] = count
                state.nonfinite.zero_()
        return found

    @torch.no_grad()
    def reindex(self, names: Iterable[str], source: Int[Tensor, "M"], fresh: Bool[Tensor, "M"] | None = None) -> None:
        """Lets the state follow parameters whose rows are copied, dropped or put in another order.

        Row i of all state becomes what row `source[i]` was; moments and step counts are zero where `fresh`, averages
        are the source's there too. Parameters are left to the caller, before or after. Every tensor stays the same
        object with another length, gradient buffers (which come back empty) and working copies included.

        Args:
            names: Parameters with as many rows (axis 0) as each other.
            source: Old rows, any of them any number of times; on the parameters' device.
            fresh: New rows that begin as if never stepped; None for none.

        Raises:
            KeyError: A name is no parameter of this optimiser.
        """
        wanted = set(names)
        self._require_known("reindex", wanted)
        for group, name, _, state in self._each():
            if name in wanted:
                rows.reindex(state, group.buffers.get(name), source, fresh)

    @torch.no_grad()
    def extend(self) -> None:
        """Lets the state follow parameters that have grown rows at their end (`ScalableHashGrid.grow`).

        Of rows that were there moments, step counts and averages stay as they are, bit for bit; new rows begin as if
        never stepped, their average at their value. Every tensor stays the same object, longer. Gradient buffers and
        working copies are the parameter's owner's to extend.

        Raises:
            ValueError: A parameter has fewer rows than its state; nothing has changed then.
        """
        for _, name, param, state in self._each():
            if param.ndim and param.shape[0] < state.exp_avg.shape[0]:
                raise ValueError(
                    f"Adam.extend: {name!r} has {param.shape[0]} rows, its state {state.exp_avg.shape[0]}; rows can "
                    "only be appended (see reindex), so build the optimiser anew"
                )
        for _, _, param, state in self._each():
            rows.extend(param, state, self.steps)

    def averages(self) -> dict[str, Tensor]:
        """Name -> average over the steps, of the parameters whose group keeps one; copies, so that looking at them
        changes nothing of the state."""
        return {
            name: settled(param.detach(), state.ema, state.ema_steps, group.ema or 0.0, self.steps)
            for group, name, param, state in self._each()
            if state.ema is not None
        }

    def state_dict(self) -> dict[str, Tensor]:
        """All state as flat named tensors, the live ones: `optim/<name>/exp_avg`, `ema/<name>`, `optim/steps` ..."""
        tensors = {"optim/steps": torch.tensor(self.steps, dtype=torch.int64)}
        for name, state in self._states.items():
            tensors.update(named(name, state))
        return tensors

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over what `state_dict` gave, exactly; parameters themselves are not part of it.

        Load the parameters first: state follows their lengths, working copies are rewritten from them.

        Raises:
            CheckpointError: Names, shapes or dtypes differ from this optimiser's; nothing has changed then.
        """
        self.extend()  # parameters may have been loaded longer than they were
        own = self.state_dict()
        given = {name: tensor for name, tensor in tensors.items() if name.startswith(("optim/", "ema/"))}
        if own.keys() != given.keys():
            raise CheckpointError(
                f"optimiser state does not fit: missing {sorted(own.keys() - given.keys())}, "
                f"unknown {sorted(given.keys() - own.keys())}; build it with the groups of the run that saved it"
            )
        for name, tensor in own.items():
            other = given[name]
            if tensor.shape != other.shape or tensor.dtype != other.dtype:
                raise CheckpointError(
                    f"optimiser state {name}: expected {list(tensor.shape)} {tensor.dtype}, "
                    f"got {list(other.shape)} {other.dtype}"
                )
        for name, tensor in own.items():
            tensor.copy_(given[name])
        self.steps = int(own["optim/steps"])
        for group, name, param, _ in self._each():
            if name in group.working_copies:
                group.working_copies[name].copy_(param.detach())
                increment_version((param,))

    def _require_known(self, method: str, names: Set[str]) -> None:
        if unknown := names - self._states.keys():
            raise KeyError(f"Adam.{method}: no parameters {sorted(unknown)}; there are {sorted(self._states)}")

    def _require_rows(self) -> None:
        for _, name, param, state in self._each():
            if param.shape != state.exp_avg.shape:
                raise ValueError(
                    f"Adam.step: {name!r} has grown from {list(state.exp_avg.shape)} to {list(param.shape)}; call "
                    "extend() first (reindex() where rows were moved or dropped)"
                )

    def _each(self) -> Iterator[tuple[Group, str, Tensor, AdamState]]:
        for group in self.groups:
            for name, param in group.params.items():
                yield group, name, param, self._states[name]
