"""Philox4x32-10 in NumPy: the oracle of `cuda/common/philox.cuh`, for the same (seed, stream, step, index)."""

import numpy as np
import numpy.typing as npt

_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)


def blocks(seed: int, stream: int, step: int, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """Four random words for each index, [N, 4].

    Source: Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3", section 3.3.
    """
    index = indices.astype(np.uint64)
    c = [index & _LOW, index >> np.uint64(32), np.full_like(index, stream), np.full_like(index, step)]
    key = [seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF]
    for _ in range(10):
        even, odd = _MULTIPLIERS[0] * c[0], _MULTIPLIERS[1] * c[2]
        c = [
            (odd >> np.uint64(32)) ^ c[1] ^ np.uint64(key[0]),
            odd & _LOW,
            (even >> np.uint64(32)) ^ c[3] ^ np.uint64(key[1]),
            even & _LOW,
        ]
        key = [(word + weyl) & 0xFFFFFFFF for word, weyl in zip(key, _WEYL, strict=True)]
    return np.stack(c, -1).astype(np.uint32)


def uniform(seed: int, stream: int, step: int, n: int, words: int) -> npt.NDArray[np.float32]:
    """Numbers in [0, 1), multiples of 2^-24: the first `words` of the blocks 0 .. n-1, [n, words]."""
    words_of = blocks(seed, stream, step, np.arange(n))[:, :words]
    return (words_of >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
