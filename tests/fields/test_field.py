"""The field of the regression tasks: encoding, then network."""

import pytest
import torch

from neural.encodings.frequency import Frequency
from neural.encodings.hash_grid import HashGrid
from neural.fields.field import Field


def test_it_is_the_network_of_the_encoding() -> None:
    field = Field(HashGrid(2, n_levels=4, log2_hashmap_size=8), 3, width=32, seed=1)
    x = torch.rand(20, 2)
    assert torch.equal(field(x), field.mlp(field.encoding(x)))
    assert field(x).shape == (20, 3)


def test_gradients_reach_table_network_and_points() -> None:
    field = Field(HashGrid(3, n_levels=4, log2_hashmap_size=8), 1, width=16, n_hidden_layers=1)
    x = torch.rand(20, 3, requires_grad=True)
    field(x).sum().backward()
    for tensor in (field.encoding.table, field.mlp.params, x):
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0


@pytest.mark.parametrize("activation", ["none", "sigmoid", "softplus"])
def test_outputs_have_their_activation(activation: str) -> None:
    values = Field(Frequency(2, 4), 2, width=16, output_activation=activation)(torch.rand(200, 2))
    assert (values.min() < 0) == (activation == "none")


def test_equal_seeds_give_equal_fields() -> None:
    one, same, other = (Field(Frequency(2, 4), 2, width=16, seed=seed).mlp.params for seed in (4, 4, 5))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
