"""Philox against the published vectors and the NumPy reference, and its independence of threads and order."""

import numpy as np
import pytest
import torch

from neural.cuda import philox
from neural.cuda.reference import philox as reference


@pytest.mark.parametrize(
    ("seed", "stream", "step", "index", "expected"),
    [  # the known-answer tests of Random123: counter and key all zeros, all ones, digits of pi
        (0, 0, 0, 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (2**64 - 1, 2**32 - 1, 2**32 - 1, -1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (0x299F31D0A4093822, 0x13198A2E, 0x03707344, 0x85A308D3243F6A88 - 2**64,
         (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ],
)  # fmt: skip
def test_reference_gives_the_published_vectors(
    seed: int, stream: int, step: int, index: int, expected: tuple[int, ...]
) -> None:
    assert tuple(reference.blocks(seed, stream, step, np.array([index]))[0].tolist()) == expected


@pytest.mark.parametrize("words", [1, 3, 4])
def test_kernel_gives_the_reference_bit_for_bit(words: int, isa: str) -> None:
    got = philox.uniform(9000, words, seed=-5, stream=3, step=2**32 - 1)
    expected = reference.uniform(-5 % 2**64, 3, 2**32 - 1, 9000, words)
    assert np.array_equal(got.numpy(), expected)
    assert got.min() >= 0 and got.max() < 1


def test_numbers_do_not_depend_on_how_many_are_drawn() -> None:
    few, many = (philox.uniform(n, seed=1, stream=2, step=3) for n in (10, 5000))
    assert torch.equal(few, many[:10])
    assert not torch.equal(few, philox.uniform(10, seed=1, stream=2, step=4))


def test_out_of_range_says_the_range() -> None:
    with pytest.raises(ValueError, match="words must be 1 to 4"):
        philox.uniform(3, 5, seed=0, stream=0)
    with pytest.raises(ValueError, match=r"stream and step must be in \[0, 2\^32\)"):
        philox.uniform(3, seed=0, stream=0, step=-1)
