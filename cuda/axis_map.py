"""Ops that map each coordinate of positions by itself, twice differentiable: autograd, call and registration."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.autograd import Function
from neural.cuda.native import lib, threads

Size = tuple[int, int]


class AxisMap:
    """One such op, with whole numbers that say which map it is (its form).

    Its kernels are those of `axis_encoding.h` with other names: NAME_forward, NAME_backward and NAME_backward_backward
    take matrices as pointer and two strides (positions, grad, second), N, D and the form, and write results that are
    views of [K, N] buffers. On a GPU the form is what they are specialised on, in capitals. `reference` has `forward`,
    `backward` and `backward_backward`.

    Args:
        name: Of the op, its CUDA source and its kernels.
        form: Names of the numbers.
        size: Shape of the result from N, D and the form.
        reference: The same in plain torch.
    """

    def __init__(self, name: str, form: tuple[str, ...], size: Callable[..., Size], reference: ModuleType) -> None:
        self.name, self._names, self._size, self._reference = name, form, size, reference
        self._kernel = getattr(lib, f"{name}_forward")
        self._define()

    def __call__(self, positions: Tensor, *form: int) -> Tensor:
        """Of checked positions [N, D]."""
        if torch.compiler.is_compiling():
            return getattr(torch.ops.neural, self.name)(positions, *form)
        return _Forward.apply(self, positions, *form)

    def forward(self, positions: Tensor, *form: int) -> Tensor:
        backend = checks.backend(positions)
        if backend == "reference":
            return self._reference.forward(positions, *form)
        n, n_dims = positions.shape
        n_out, width = self._size(n, n_dims, *form)
        out = checks.empty_features(n_out, width, positions)
        if backend == "cpu" and n and n_dims:  # what `_run` does, written out: 1.7 us less a call
            source, row, column = checks.rows(positions)
            self._kernel(source.data_ptr(), row, column, n, n_dims, *form, out.data_ptr(), 1, n_out, threads())
        else:
            self._run("forward", (positions,), form, (out,))
        return out

    def backward(self, grad: Tensor, positions: Tensor, *form: int) -> Tensor:
        if checks.backend(positions) == "reference":
            return self._reference.backward(grad, positions, *form)
        result = _empty_like(positions)
        self._run("backward", (positions, grad), form, (result,))
        return result

    def backward_backward(self, second: Tensor, grad: Tensor, positions: Tensor, *form: int) -> tuple[Tensor, Tensor]:
        if checks.backend(positions) == "reference":
            return self._reference.backward_backward(second, grad, positions, *form)
        to_grad, to_positions = _empty_like(grad), _empty_like(positions)
        self._run("backward_backward", (positions, grad, second), form, (to_grad, to_positions))
        return to_grad, to_positions

    def _run(self, which: str, inputs: tuple[Tensor, ...], form: tuple[int, ...], outputs: tuple[Tensor, ...]) -> None:
        kernel = f"{self.name}_{which}"
        n, n_dims = inputs[0].shape
        if n == 0 or n_dims == 0:
            return
        given = [checks.rows(matrix) for matrix in inputs]
        if checks.backend(inputs[0]) == "cpu":
            sources = [value for matrix, row, column in given for value in (matrix.data_ptr(), row, column)]
            results = [value for matrix in outputs for value in (matrix.data_ptr(), 1, matrix.shape[0])]
            getattr(lib, kernel)(*sources, n, n_dims, *form, *results, threads())
        else:
            defines = {name.upper(): value for name, value in zip(self._names, form, strict=True)}
            args = [value for matrix in given for value in matrix]
            to = [value for matrix in outputs for value in (matrix, 1, matrix.shape[0])]
            jit.launch(self.name, kernel, defines, (n, n_dims, 1), (*args, n, *to), block=(128, 1, 1))

    def _define(self) -> None:
        numbers = "".join(f", int {name}" for name in self._names)
        none = library.constants(*self._names)

        def keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            n_tensors = len(inputs) - len(self._names)
            ctx.save_for_backward(*inputs[:n_tensors])
            ctx.form = inputs[n_tensors:]

        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
            op = getattr(torch.ops.neural, f"{self.name}_backward")
            return op(grad, *ctx.saved_tensors, *ctx.form), *none

        def backward_backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, ...]:
            op = getattr(torch.ops.neural, f"{self.name}_backward_backward")
            return *op(second, *ctx.saved_tensors, *ctx.form), *none

        library.define(
            self.name,
            f"(Tensor positions{numbers}) -> Tensor",
            implementation=self.forward,
            fake=lambda positions, *form: checks.empty_features(*self._size(*positions.shape, *form), positions),
            backward=backward,
            save=keep,
        )
        library.define(
            f"{self.name}_backward",
            f"(Tensor grad, Tensor positions{numbers}) -> Tensor",
            implementation=self.backward,
            fake=lambda grad, positions, *form: _empty_like(positions),
            backward=backward_backward,
            save=keep,
        )
        library.define(
            f"{self.name}_backward_backward",
            f"(Tensor second, Tensor grad, Tensor positions{numbers}) -> (Tensor, Tensor)",
            implementation=self.backward_backward,
            fake=lambda second, grad, positions, *form: (_empty_like(grad), _empty_like(positions)),
        )


class _Forward(Function):
    @staticmethod
    def forward(ctx: Any, op: AxisMap, positions: Tensor, *form: int) -> Tensor:
        ctx.save_for_backward(positions)
        ctx.op, ctx.form = op, form
        return op.forward(positions, *form)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, _Backward.apply(ctx.op, grad, *ctx.saved_tensors, *ctx.form), *(None for _ in ctx.form)


class _Backward(Function):
    @staticmethod
    def forward(ctx: Any, op: AxisMap, grad: Tensor, positions: Tensor, *form: int) -> Tensor:
        ctx.save_for_backward(grad, positions)
        ctx.op, ctx.form = op, form
        return op.backward(grad, positions, *form)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.op.backward_backward(second, *ctx.saved_tensors, *ctx.form), *(None for _ in ctx.form)


def _empty_like(matrix: Tensor) -> Tensor:
    return checks.empty_features(matrix.shape[0], matrix.shape[1], matrix)
