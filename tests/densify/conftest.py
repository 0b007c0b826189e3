"""A small population whose rows carry tags, and views of it."""

from collections.abc import Callable

import pytest
import torch

from neural.densify.population import Population
from neural.gaussians.model import Gaussians
from neural.optim import Adam, Group

Make = Callable[..., Population]


@pytest.fixture
def make() -> Make:
    """`make(n, opacity=0.5)`: n Gaussians around the origin, optimiser stepped once; sh0's red is the row's number."""

    def _make(n: int, opacity: float = 0.5) -> Population:
        generator = torch.Generator().manual_seed(n)
        gaussians = Gaussians(
            torch.randn(n, 3, generator=generator), torch.randn(n, 4, generator=generator),
            torch.randn(n, 3, generator=generator) * 0.3 - 3, torch.logit(torch.full((n,), opacity)),
            torch.arange(n)[:, None].repeat(1, 3).float(), torch.zeros(n, 3, 3),
        )  # fmt: skip
        optimiser = Adam([Group(dict(gaussians.named_parameters()), lr=0.0)])
        for param in gaussians.parameters():
            param.grad = torch.ones_like(param)
        optimiser.step()
        optimiser.zero_grad()
        state = optimiser.state_dict()
        state["optim/sh0/exp_avg"].copy_(gaussians.sh0.detach() + 1)  # a tag that moments carry; 0 is fresh
        return Population(gaussians, optimiser)

    return _make
