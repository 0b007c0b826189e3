"""`packed_info`, the table of which samples belong to which ray: made and checked for every op over rays."""

from array import array

import torch
from torch import Tensor

from neural.cuda import checks
from neural.cuda.native import lib

NO_LIMIT = 2**62  # samples


def starts(packed_info: Tensor, max_samples: int | None = None) -> tuple[int, int]:
    """Fills in the starts of a table that holds counts, in place.

    Args:
        packed_info: int64 [R, 2], contiguous, the counts in column 1.
        max_samples: Rays from the first one on that does not fit get count 0; None for no limit.

    Returns:
        The number of samples, and how many leading rays are kept.
    """
    n = packed_info.shape[0]
    if n == 0:
        return 0, 0
    limit = NO_LIMIT if max_samples is None else max_samples
    if checks.backend(packed_info) == "cpu":
        written = array("q", (n,))
        total = lib.packed_info_starts(packed_info.data_ptr(), n, limit, written.buffer_info()[0])
        return total, written[0]
    counts = packed_info[:, 1]
    ends = counts.cumsum(0)
    torch.sub(ends, counts, out=packed_info[:, 0])
    total = int(ends[-1])
    if total <= limit:
        return total, n
    kept = int(torch.searchsorted(ends, limit, right=True))
    total = int(ends[kept - 1]) if kept else 0
    packed_info[kept:, 0] = total
    packed_info[kept:, 1] = 0
    return total, kept


def require(op: str, packed_info: Tensor, n_samples: int, like: Tensor) -> bool:
    """Raises unless `packed_info` is [R, 2] int64, contiguous, on the device of `like`, ranges ascending in [0, S).

    Args:
        op: Name of the op, for the message.
        packed_info: (start, count) per ray.
        n_samples: S.
        like: A tensor on the right device.

    Returns:
        Whether the rays own every sample, so that outputs per sample need no clearing; False where that is unknown.

    Raises:
        TypeError, ValueError: A wrong dtype, shape, device or order; on the CPU also a range outside the samples
            or one that begins before the end of an earlier one (on a GPU that would need a wait).
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
            f"{op}: packed_info[{-covered - 1}] is (start {start}, count {count}): outside the {n_samples} samples, or "
            "before the end of an earlier ray's; pass what ray_march gave with these samples"
        )
    return covered == n_samples


def per_sample(like: Tensor, owned: bool) -> Tensor:
    """A contiguous fp32 [S] output for S = len(like): uninitialised if kernels write all of it, else zero."""
    return torch.empty_like(like, memory_format=torch.contiguous_format) if owned else torch.zeros_like(like)
