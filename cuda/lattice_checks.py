"""What the ops over levels of a pooled table are given, checked: what was expected, what came, what to do."""

from typing import Any, Literal, NoReturn

import torch
from torch import Tensor

from neural.cuda import checks
from neural.cuda import levels as layout
from neural.cuda.gradients import WORD_ROWS, GradientBuffer
from neural.cuda.tensor_cache import TensorCache

Outside = Literal["wrap", "clamp", "zero"]
OUTSIDES: tuple[Outside, ...] = ("wrap", "clamp", "zero")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_CPU = torch.device("cpu")
_extents: TensorCache[tuple[int, int]] = TensorCache()
_finite: TensorCache[bool] = TensorCache()


def check(
    op: str, positions: Tensor, table: Tensor, levels: Tensor, working_copy: Tensor | None, segments: Tensor | None,
    level_weights: Tensor | None, outside: str, accumulate: GradientBuffer | None,
) -> None:  # fmt: skip
    """Raises unless the arguments fit each other."""
    checks.require(op, "table", table, ("E", "F"))
    checks.require(op, "positions", positions, ("N", "D"), device=table.device)
    n_dims, n_features = positions.shape[1], table.shape[1]
    if not 1 <= n_dims <= layout.MAX_DIMS:
        raise ValueError(f"{op}: positions must have 1 to {layout.MAX_DIMS} columns, got {n_dims}")
    if n_features not in (1, 2, 4, 8):
        raise ValueError(f"{op}: table must have 1, 2, 4 or 8 features, got {n_features}")
    if not table.is_contiguous():
        _refuse_strides(op, "table", table)
    if torch.compiler.is_compiling():
        checks.require(op, "levels", levels, ("T", "L", layout.row_length(n_dims)), torch.int64, _CPU)
    elif (extent := _extent(op, levels, n_dims)) > table.shape[0]:
        raise ValueError(
            f"{op}: levels describe {extent} entries, the table has {table.shape[0]}; pass the table that "
            "levels.describe gave the size of"
        )
    if working_copy is not None:
        _require_dense(op, "working_copy", working_copy, tuple(table.shape), DTYPES[1:], table.device)
    if level_weights is not None:
        _require_dense(op, "level_weights", level_weights, (levels.shape[1],), torch.float32, _CPU)
        if not torch.compiler.is_compiling():
            _require_finite(op, level_weights)
    if segments is not None:
        _require_dense(op, "segments", segments, (levels.shape[0] + 1,), torch.int64, _CPU)
        bounds = segments.tolist()
        if bounds[0] != 0 or bounds[-1] != positions.shape[0] or sorted(bounds) != bounds:
            raise ValueError(f"{op}: segments must rise from 0 to {positions.shape[0]} points, got {bounds}")
    elif levels.shape[0] != 1:
        raise ValueError(f"{op}: {levels.shape[0]} sub-tables need segments, got None; pass int64 [T + 1] offsets")
    if outside not in OUTSIDES:
        raise ValueError(f"{op}: outside must be one of {', '.join(OUTSIDES)}, got {outside!r}")
    if accumulate is not None:
        _check_buffer(op, accumulate, table)


def _extent(op: str, levels: Tensor, n_dims: int) -> int:
    """Entries that the descriptors reach, looked at once per tensor and version.

    Raises:
        TypeError, ValueError: Descriptors that no layout gives.
    """
    kept = _extents.get(levels)
    if kept is not None and kept[0] == n_dims:
        return kept[1]
    checks.require(op, "levels", levels, ("T", "L", layout.row_length(n_dims)), torch.int64, _CPU)
    if not levels.is_contiguous() or not layout.sound(levels):
        raise ValueError(f"{op}: levels must be contiguous descriptors; make them with levels.describe")
    return _extents.put(levels, (n_dims, int((levels[..., 0] + levels[..., 1]).max())))[1]


def _require_finite(op: str, level_weights: Tensor) -> None:
    """Infinite factors would leave NaN in the table for good; looked at once per tensor and version."""
    if not _finite.get(level_weights) and not _finite.put(level_weights, bool(level_weights.isfinite().all())):
        raise ValueError(f"{op}: level_weights must be finite, got {level_weights.tolist()}")


def _check_buffer(op: str, accumulate: GradientBuffer, table: Tensor) -> None:
    checks.require(op, "accumulate.grad", accumulate.grad, tuple(table.shape), torch.float32, table.device)
    words = -(-table.shape[0] // WORD_ROWS)
    checks.require(op, "accumulate.touched", accumulate.touched, (words,), torch.int64, table.device)
    if not (accumulate.grad.is_contiguous() and accumulate.touched.is_contiguous()):
        raise ValueError(f"{op}: accumulate must hold contiguous tensors; make it with GradientBuffer.like")


def _require_dense(
    op: str, name: str, tensor: Tensor, shape: tuple[int, ...], dtype: Any, device: torch.device
) -> None:
    checks.require(op, name, tensor, shape, dtype, device)
    if not tensor.is_contiguous():
        _refuse_strides(op, name, tensor)


def _refuse_strides(op: str, name: str, tensor: Tensor) -> NoReturn:
    raise ValueError(f"{op}: {name} must be contiguous, got strides {tensor.stride()}; call .contiguous()")
