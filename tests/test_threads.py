"""The helper that all tests of thread counts go through notices what they are about."""

import pytest
import torch

from tests.threads import same_bits, threads


def test_a_result_that_follows_the_number_of_threads_is_noticed() -> None:
    before = torch.get_num_threads()
    steady = torch.arange(3.0)
    assert torch.equal(same_bits(lambda: [steady + 1])[0], steady + 1)
    with pytest.raises(AssertionError, match=r"results \[1\] differ between 1 and 3 threads"):
        same_bits(lambda: [steady, torch.tensor(torch.get_num_threads() > 2)])
    with pytest.raises(AssertionError, match="nothing to compare"):
        same_bits(list)
    assert torch.get_num_threads() == before


def test_the_number_of_threads_comes_back_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), threads(before + 1):
        raise KeyError
    assert torch.get_num_threads() == before
