"""The law of every kernel and training: results have the same bits on any number of threads."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many for torch and for our kernels, inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def same_bits(run: Callable[[], Sequence[Tensor]], counts: Sequence[int] = (1, 2, 3)) -> Sequence[Tensor]:
    """Runs it on each number of threads; what came of the first, after all others have come to the same."""
    results = []
    for count in counts:
        with threads(count):
            results.append(run())
    first, *others = results
    assert first, "nothing to compare"
    for count, other in zip(counts[1:], others, strict=True):
        differ = [i for i, (a, b) in enumerate(zip(first, other, strict=True)) if not torch.equal(a, b)]
        assert not differ, f"results {differ} differ between {counts[0]} and {count} threads"
    return first
