"""The fused MLP against plain torch in float64: values, gradients, second-order gradients, for every instruction set."""

import pytest
import torch
from torch import Tensor

from neural.cuda.mlp import ACTIVATIONS, MLPSpec, mlp
from neural.cuda.reference import mlp as reference

SHAPES = [(32, 16, 64, 2), (3, 1, 16, 1), (37, 5, 48, 3), (1, 3, 32, 8), (130, 70, 128, 2)]


def _net(spec: MLPSpec, n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Parameters of moderate size, inputs, an upstream gradient, a direction."""
    generator = torch.Generator().manual_seed(seed)
    params = torch.cat(
        [torch.randn(o * (i + spec.bias), generator=generator) / i**0.5 for o, i in spec.shapes]
    )
    x = torch.randn(n, spec.n_in, generator=generator)
    return params, x, torch.randn(n, spec.n_out, generator=generator), torch.randn(n, spec.n_in, generator=generator)


def _close(got: Tensor, expected: Tensor, tolerance: float) -> None:
    got, expected = got.detach(), expected.detach()
    scale = float(expected.abs().max().clamp(min=1e-6))
    torch.testing.assert_close(got.double() / scale, expected / scale, atol=tolerance, rtol=0)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [1, 63, 130])
def test_values_and_gradients(shape: tuple[int, int, int, int], n: int, bias: bool, isa: str) -> None:
    spec = MLPSpec(*shape, activation="silu", bias=bias)
    params, x, upstream, _ = _net(spec, n)
    leaves = [x.requires_grad_(), params.requires_grad_()]
    out = mlp(*leaves, spec)
    _close(out, reference.forward(x.double(), params.double(), spec), 3e-6)
    out.backward(upstream)
    gx, gp = reference.backward(upstream.double(), x.double(), params.double(), spec)
    _close(x.grad, gx, 5e-6)
    _close(params.grad, gp, 5e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("output_activation", ACTIVATIONS)
def test_every_activation_in_both_places(activation: str, output_activation: str, isa: str) -> None:
    spec = MLPSpec(5, 3, 16, 2, activation, output_activation, True, 1.7)
    params, x, upstream, direction = (v * 0.5 for v in _net(spec, 40))
    leaves = [v.requires_grad_() for v in (upstream, x, params)]
    out = mlp(x, params, spec)
    _close(out, reference.forward(x.double(), params.double(), spec), 3e-6)
    gx, gp = torch.autograd.grad(out, (x, params), upstream, create_graph=True)
    ex, ep = reference.backward(upstream.double(), x.double(), params.double(), spec)
    _close(gx, ex, 5e-6)
    _close(gp, ep, 5e-6)
    second = torch.autograd.grad((gx * direction).sum(), leaves, allow_unused=True)
    expected = reference.backward_backward(*(v.detach().double() for v in (direction, *leaves)), spec)
    for got, wanted in zip(second, expected, strict=True):
        _close(torch.zeros_like(wanted) if got is None else got, wanted, 2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_second_order_of_every_shape(shape: tuple[int, int, int, int], isa: str) -> None:
    spec = MLPSpec(*shape, activation="softplus", bias=True)
    params, x, upstream, direction = _net(spec, 70)
    leaves = [v.requires_grad_() for v in (upstream, x, params)]
    (gx,) = torch.autograd.grad(mlp(x, params, spec), x, upstream, create_graph=True)
    got = torch.autograd.grad((gx * direction).sum(), leaves)
    expected = reference.backward_backward(*(v.detach().double() for v in (direction, *leaves)), spec)
    for a, b in zip(got, expected, strict=True):
        _close(a, b, 2e-5)


def test_either_memory_order_gives_equal_bits(isa: str) -> None:
    spec = MLPSpec(37, 5, 32, 2)
    params, x, upstream, _ = _net(spec, 200)
    results = []
    for order in (lambda t: t.contiguous(), lambda t: t.T.contiguous().T):
        leaf, weights = order(x).detach().requires_grad_(), params.clone().requires_grad_()
        out = mlp(leaf, weights, spec)
        out.backward(order(upstream))
        results.append((out, leaf.grad, weights.grad))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_any_number_of_threads_gives_equal_bits() -> None:
    spec = MLPSpec(32, 16, 64, 2)
    params, x, upstream, _ = _net(spec, 9001)
    results = []
    before = torch.get_num_threads()
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            leaf, weights = x.clone().requires_grad_(), params.clone().requires_grad_()
            mlp(leaf, weights, spec).backward(upstream)
            results.append((leaf.grad, weights.grad))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


def test_samples_without_upstream_gradient_are_skipped_exactly(isa: str) -> None:
    spec = MLPSpec(8, 4, 32, 2, bias=True)
    params, x, upstream, _ = _net(spec, 300)
    upstream[64:200] = 0.0
    leaf, weights = x.clone().requires_grad_(), params.clone().requires_grad_()
    mlp(leaf, weights, spec).backward(upstream)
    gx, gp = reference.backward(upstream.double(), x.double(), params.double(), spec)
    _close(leaf.grad, gx, 5e-6)
    _close(weights.grad, gp, 5e-6)
    assert not leaf.grad[64:200].any()


def test_nan_stays_in_its_sample(isa: str) -> None:
    spec = MLPSpec(8, 4, 32, 2)
    params, x, _, _ = _net(spec, 100)
    x[17, 3] = float("nan")
    out = mlp(x, params, spec)
    assert out[17].isnan().all()
    assert not out[torch.arange(100) != 17].isnan().any()


def test_empty_batch() -> None:
    spec = MLPSpec(8, 4, 32, 2)
    x, params = torch.zeros(0, 8, requires_grad=True), torch.ones(spec.n_params, requires_grad=True)
    out = mlp(x, params, spec)
    assert out.shape == (0, 4)
    out.sum().backward()
    assert not params.grad.any()


def test_gradient_of_the_parameter_gradient_is_refused() -> None:
    spec = MLPSpec(8, 4, 16, 1, activation="silu")
    params, x, upstream, _ = _net(spec, 10)
    params.requires_grad_()
    (gp,) = torch.autograd.grad(mlp(x, params, spec), params, upstream, create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        gp.square().sum().backward()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 20}, "width must be a multiple of 16 from 16 to 128, got 20"),
        ({"width": 256}, "width must be a multiple of 16"),
        ({"n_hidden_layers": 9}, "n_hidden_layers must be 1 to 8, got 9"),
        ({"activation": "gelu"}, "activation must be one of none, relu"),
        ({"n_in": 0}, "n_in and n_out must be 1 or more"),
    ],
)
def test_impossible_forms_say_what_is_possible(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLPSpec(**({"n_in": 8, "n_out": 4} | change))


def test_wrong_tensors_say_what_to_do() -> None:
    spec = MLPSpec(8, 4, 32, 2)
    params = torch.zeros(spec.n_params)
    with pytest.raises(ValueError, match=r"inputs must be \[N, 8\], got \[8, 5\]; transpose"):
        mlp(torch.zeros(8, 5), params, spec)
    with pytest.raises(TypeError, match="inputs must be float32, got float64"):
        mlp(torch.zeros(5, 8).double(), params, spec)
    with pytest.raises(ValueError, match="params must be"):
        mlp(torch.zeros(5, 8), params[1:], spec)
