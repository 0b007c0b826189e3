"""Every op in torch.ops.neural passes opcheck, and compiles as one graph."""

from collections.abc import Callable

import pytest
import torch

from neural.cuda import hash_grid, levels, library, spherical_harmonics  # noqa: F401  (importing defines the ops)


def _unit(n: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(n, 3), dim=-1)


def _table() -> tuple[torch.Tensor, torch.Tensor]:
    rows, entries = levels.describe(
        3, n_levels=4, base_resolution=[3] * 3, per_level_scale=[1.7] * 3, log2_hashmap_size=8
    )
    return torch.randn(entries, 2, requires_grad=True), rows


# one call per op; a new op that is missing here fails the test below
SAMPLES: dict[str, Callable[[], tuple]] = {
    "hash_grid": lambda: (torch.rand(7, 3).requires_grad_(), *_table(), None, None, None, 1, 1),
    "hash_grid_backward": lambda: (
        torch.randn(7, 8),
        torch.rand(7, 3),
        _table()[0].detach(),
        None,
        _table()[1],
        None,
        None,
        1,
        1,
    ),
    "spherical_harmonics": lambda: (_unit(7).requires_grad_(), 3),
    "spherical_harmonics_backward": lambda: (torch.randn(7, 9), _unit(7), 3),
}


def test_every_op_has_a_sample() -> None:
    assert sorted(SAMPLES) == sorted(library.OPS)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_opcheck(name: str) -> None:
    torch.manual_seed(0)
    torch.library.opcheck(getattr(torch.ops.neural, name).default, SAMPLES[name]())
