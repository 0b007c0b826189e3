"""Packed samples: the check of `packed_info` that every op over rays shares."""

import torch
from torch import Tensor

from neural.cuda import checks
from neural.cuda.native import lib


def require(op: str, packed_info: Tensor, n_samples: int, like: Tensor) -> bool:
    """Raises unless `packed_info` is [R, 2] int64, contiguous, on the device of `like`, with ranges inside [0, S).

    Args:
        op: Name of the op, for the message.
        packed_info: (start, count) per ray.
        n_samples: S.
        like: A tensor on the right device.

    Returns:
        Whether the rays own every sample, so that outputs per sample need no clearing; False where that is unknown.

    Raises:
        TypeError, ValueError: A wrong dtype, shape, device or order; on the CPU also a range outside the samples
            or more samples in the ranges than there are (on a GPU that would need a wait).
    """
    checks.require(op, "packed_info", packed_info, ("R", 2), torch.int64, like.device)
    if not packed_info.is_contiguous():
        raise ValueError(f"{op}: packed_info must be contiguous; call .contiguous()")
    if packed_info.device.type != "cpu":
        return False
    covered = lib.packed_info_check(packed_info.data_ptr(), packed_info.shape[0], n_samples)
    if covered < 0:
        start, count = packed_info[-covered - 1].tolist()
        raise ValueError(
            f"{op}: packed_info[{-covered - 1}] is (start {start}, count {count}), outside the {n_samples} samples; "
            "pass the samples that these rays were marched with"
        )
    if covered > n_samples:
        raise ValueError(
            f"{op}: packed_info counts {covered} samples in all but there are {n_samples}; rays must not share samples"
        )

    return covered == n_samples


def per_sample(like: Tensor, owned: bool) -> Tensor:
    """A contiguous fp32 [S] output for S = len(like): uninitialised if kernels write all of it, else zero."""
    return torch.empty_like(like, memory_format=torch.contiguous_format) if owned else torch.zeros_like(like)
