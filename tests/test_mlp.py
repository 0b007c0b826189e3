"""The MLP module: initial weights, views of layers, learning and compiling."""

import math

import pytest
import torch

from neural.mlp import MLP


def test_layers_are_views_in_torch_linear_order() -> None:
    net = MLP(3, 2, width=32, n_hidden_layers=2, activation="silu", bias=True)
    with torch.no_grad():
        for _, bias in net.layers():
            assert bias is not None
            bias.uniform_(-1, 1)
    x = torch.randn(50, 3)
    a = x
    layers = net.layers()
    assert [tuple(weight.shape) for weight, _ in layers] == [(32, 3), (32, 32), (2, 32)]
    for i, (weight, bias) in enumerate(layers):
        a = torch.nn.functional.linear(a, weight, bias)
        a = torch.nn.functional.silu(a) if i < 2 else a
    torch.testing.assert_close(net(x), a, atol=1e-5, rtol=1e-5)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = MLP(3, 2, seed=7).params
    torch.manual_seed(2)
    assert torch.equal(first, MLP(3, 2, seed=7).params)
    assert not torch.equal(first, MLP(3, 2, seed=8).params)


def test_initial_weights_have_the_published_range() -> None:
    for weight, bias in MLP(32, 16, bias=True).requires_grad_(False).layers():
        bound = math.sqrt(6 / weight.shape[1])
        assert 0.9 * bound < float(weight.abs().max()) <= bound
        assert bias is not None and (bias == 0).all()
    first, second, _ = MLP(4, 1, activation="sine", frequency=30.0).requires_grad_(False).layers()
    assert 0.9 / 4 < float(first[0].abs().max()) <= 1 / 4
    assert float(second[0].abs().max()) <= math.sqrt(6 / 64) / 30


def test_it_learns_a_function() -> None:
    net = MLP(2, 1, width=32, activation="silu", bias=True)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    x = torch.rand(512, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = (3 * x[:, :1]).sin() * x[:, 1:]
    losses = []
    for _ in range(300):
        optimiser.zero_grad()
        loss = (net(x) - y).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.02 * losses[0]


def test_state_dict_round_trips() -> None:
    net, other = MLP(5, 3, seed=1), MLP(5, 3, seed=2)
    other.load_state_dict(net.state_dict())
    x = torch.randn(9, 5)
    assert torch.equal(net(x), other(x))


def test_repr_names_sizes_and_activations() -> None:
    assert repr(MLP(32, 16, output_activation="exp")) == "MLP(32 -> 64 -> 64 -> 16, relu, output exp)"


def test_errors_name_the_remedy() -> None:
    with pytest.raises(ValueError, match="got 20; use 32"):
        MLP(3, 2, width=20)
    with pytest.raises(ValueError, match="n_in must be at least 1, got 0"):
        MLP(0, 2)
