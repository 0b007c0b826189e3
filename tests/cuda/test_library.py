"""Every op in torch.ops.neural passes opcheck, and compiles as one graph."""

from collections.abc import Callable

import pytest
import torch

from neural.cuda import (  # noqa: F401  (importing defines the ops)
    library,
    occupancy,
    philox,
    ray_march,
    ray_points,
    spherical_harmonics,
)


def _unit(n: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(n, 3), dim=-1)


def _march_rays() -> tuple:
    settings = ray_march._settings((0.0, 0.0, 0.0), 0.5, 16, 0.1, 1.0, 0.0, torch.device("cpu"))
    far = torch.full((7,), 2.0)
    bits = torch.full((1, 512), 255, dtype=torch.uint8)
    return torch.zeros(7, 3), _unit(7), torch.zeros(7), far, torch.rand(7), bits, settings, 16, False


def _march_write() -> tuple:
    counts, spans = torch.ops.neural.ray_march_count(*_march_rays())
    packed_info, n_samples, _ = ray_march._pack(counts, None)
    return *_march_rays(), spans, packed_info, n_samples


def _packed() -> tuple:
    t = torch.rand(5)
    return t, t + 0.1, torch.tensor([0, 0, 1, 1, 1]), torch.tensor([[0, 2], [2, 3], [5, 0]])


# one call per op; a new op that is missing here fails the test below
SAMPLES: dict[str, Callable[[], tuple]] = {
    "occupancy_mean": lambda: (torch.rand(1, 4096),),
    "occupancy_pack": lambda: (torch.rand(2, 4096), torch.tensor(0.5), 16),
    "occupancy_points": lambda: (torch.arange(9), 1, 2, 16, 0.0, 0.0, 0.0, 1.0),
    "occupancy_update": lambda: (torch.rand(1, 4096), torch.arange(9), torch.rand(9), 0.9),
    "philox_uniform": lambda: (9, 2, 1, 2, 3, torch.device("cpu")),
    "ray_march_count": _march_rays,
    "ray_march_write": _march_write,
    "ray_points": lambda: (torch.rand(3, 3).requires_grad_(), _unit(3).requires_grad_(), *_packed()),
    "ray_points_backward": lambda: (torch.rand(5, 3), torch.rand(5, 3), *_packed()),
    "spherical_harmonics": lambda: (_unit(7).requires_grad_(), 3),
    "spherical_harmonics_backward": lambda: (torch.randn(7, 9), _unit(7), 3),
}


def test_every_op_has_a_sample() -> None:
    assert sorted(SAMPLES) == sorted(library.OPS)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_opcheck(name: str) -> None:
    torch.manual_seed(0)
    torch.library.opcheck(getattr(torch.ops.neural, name).default, SAMPLES[name]())
