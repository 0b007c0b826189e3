"""Every op in torch.ops.neural passes opcheck, and compiles as one graph."""

from collections.abc import Callable

import pytest
import torch

from neural.cuda import library, spherical_harmonics  # noqa: F401  (importing defines the ops)


def _unit(n: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(n, 3), dim=-1)


# one call per op; a new op that is missing here fails the test below
SAMPLES: dict[str, Callable[[], tuple]] = {
    "spherical_harmonics": lambda: (_unit(7).requires_grad_(), 3),
    "spherical_harmonics_backward": lambda: (torch.randn(7, 9), _unit(7), 3),
}


def test_every_op_has_a_sample() -> None:
    assert sorted(SAMPLES) == sorted(library.OPS)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_opcheck(name: str) -> None:
    torch.manual_seed(0)
    torch.library.opcheck(getattr(torch.ops.neural, name).default, SAMPLES[name]())
