"""Checks at the native boundary: one call per argument, messages with what came and what to do."""

from collections.abc import Sequence

import torch
from torch import Tensor


def backend(tensor: Tensor) -> str:
    """Which implementation runs: `cpu` (native), `cuda` (NVRTC), or `reference` (plain torch, other devices)."""
    return "cpu" if tensor.is_cpu else "cuda" if tensor.is_cuda else "reference"


def require(
    op: str,
    name: str,
    tensor: Tensor,
    shape: Sequence[int | str],
    dtype: torch.dtype | tuple[torch.dtype, ...] = torch.float32,
    device: torch.device | None = None,
) -> None:
    """Raises unless `tensor` has this shape, dtype and device.

    Args:
        op: Name of the op, for the message.
        name: Name of the argument, for the message.
        tensor: The argument.
        shape: One entry per axis: an exact length, or a letter that stands for any length.
        dtype: The dtype, or those allowed.
        device: Where it must be; None allows any.

    Raises:
        TypeError: Not a tensor, or of another dtype.
        ValueError: Another shape or device.
    """
    if (
        isinstance(tensor, Tensor)
        and (tensor.dtype is dtype or (type(dtype) is tuple and tensor.dtype in dtype))
        and (tensor.shape == shape or _fits(shape, tensor.shape))
        and (device is None or tensor.device == device)
    ):
        return
    _refuse(op, name, tensor, shape, dtype, device)


def _refuse(
    op: str,
    name: str,
    tensor: Tensor,
    shape: Sequence[int | str],
    dtype: torch.dtype | tuple[torch.dtype, ...],
    device: torch.device | None,
) -> None:
    """Says what is wrong and what to do."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{op}: {name} must be a torch.Tensor, got {type(tensor).__name__}; call torch.as_tensor")
    dtypes = dtype if isinstance(dtype, tuple) else (dtype,)
    if tensor.dtype not in dtypes:
        wanted = " or ".join(str(d).removeprefix("torch.") for d in dtypes)
        raise TypeError(
            f"{op}: {name} must be {wanted}, got {str(tensor.dtype).removeprefix('torch.')}; call .to({dtypes[0]})"
        )
    actual = tensor.shape
    if not _fits(shape, actual):
        wanted = ", ".join(str(s) for s in shape)
        hint = "; transpose it with .T" if tuple(reversed(actual)) and _fits(shape, actual[::-1]) else ""
        raise ValueError(f"{op}: {name} must be [{wanted}], got {list(actual)}{hint}")
    if device is not None:
        raise ValueError(f"{op}: {name} must be on {device}, got {tensor.device}; call .to({str(device)!r})")


def require_like(op: str, name: str, tensor: Tensor, like: Tensor) -> None:
    """As `require` for the shape, dtype and device of a tensor that has been checked; quick where they agree."""
    same = type(tensor) is Tensor and tensor.shape == like.shape and tensor.dtype is like.dtype
    if not same or tensor.device != like.device:
        require(op, name, tensor, tuple(like.shape), like.dtype, like.device)


def _fits(shape: Sequence[int | str], actual: Sequence[int]) -> bool:
    if len(shape) != len(actual):
        return False
    if len(shape) == 2:  # most are; written out, it costs a third of the loop
        (a, b), (c, d) = shape, actual
        return (a == c or a.__class__ is str) and (b == d or b.__class__ is str)
    return all([want == got or want.__class__ is str for want, got in zip(shape, actual, strict=True)])


def rows(matrix: Tensor) -> tuple[Tensor, int, int]:
    """A [N, K] matrix as kernels take it: the tensor to keep alive, stride of n, stride of k.

    Row-major [N, K] and the transposed view of a [K, N] are taken as they are; anything else (an expanded
    gradient, a slice with gaps) is copied once into [K, N] order.
    """
    stride_n, stride_k = matrix.stride()
    n, k = matrix.shape
    if (stride_n == 1 and (stride_k >= n or k == 1)) or (stride_k == 1 and (stride_n >= k or n == 1)):
        return matrix, stride_n, stride_k
    return matrix.t().contiguous().t(), 1, n


def empty_features(n: int, k: int, like: Tensor) -> Tensor:
    """An uninitialised fp32 [n, k] view of a [k, n] buffer, the order in which ops hand out features."""
    return like.new_empty_strided((n, k), (1, max(n, 1)), dtype=torch.float32)


def pointer(tensor: Tensor | None) -> int:
    """The address that a CPU kernel takes; 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()
