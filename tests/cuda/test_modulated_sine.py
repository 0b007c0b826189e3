"""The fused modulated sine network against the layer-by-layer one in float64: values, gradients, second order."""

import pytest
import torch

from neural.cuda.gradients import GradientBuffer
from neural.cuda.modulated_sine import modulated_sine
from neural.cuda.modulated_sine_spec import ModulatedSineSpec
from neural.cuda.reference import modulated_sine as reference
from tests.threads import same_bits

# of the largest entry: angles of some 10 radians in fp32, through up to 8 layers
TOLERANCE = 5e-5


def _sample(spec: ModulatedSineSpec, n: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """coordinates, features, params and upstream gradient, in float64 that fp32 holds exactly."""
    generator = torch.Generator().manual_seed(seed)
    coordinates = torch.rand(n, spec.n_coordinates, generator=generator)
    features = torch.randn(spec.n_grids * n, spec.n_features, generator=generator) * 0.3
    params = torch.zeros(spec.n_params)
    for place, (weight, bias) in enumerate(spec.maps(params)):
        gain = 1.0 if place % 2 else 2.0
        weight.copy_(torch.randn(weight.shape, generator=generator) * gain / weight.shape[1] ** 0.5 / spec.frequency)
        bias.copy_(torch.randn(bias.shape, generator=generator) / spec.frequency)
    upstream = torch.randn(n, spec.n_out, generator=generator)
    return tuple(t.double() for t in (coordinates, features, params, upstream))


def _close(got: torch.Tensor | None, expected: torch.Tensor) -> None:
    assert got is not None
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(got.detach().cpu().double(), expected, atol=TOLERANCE * scale + 1e-9, rtol=0)


def _check(spec: ModulatedSineSpec, n: int, device: torch.device | str = "cpu", transposed: bool = False) -> None:
    exact = _sample(spec, n)

    def order(t: torch.Tensor) -> torch.Tensor:
        t = t.float().to(device)
        return t.t().contiguous().t() if transposed and t.ndim == 2 else t.contiguous()

    *leaves, upstream = (order(t).requires_grad_() for t in exact)
    out = modulated_sine(*leaves, spec)
    _close(out, reference.forward(*exact[:3], spec))
    got = torch.autograd.grad(out, leaves, upstream)
    for g, want in zip(got, reference.backward(exact[3], *exact[:3], spec), strict=True):
        _close(g, want)


@pytest.mark.parametrize("n", [1, 15, 64, 150])
@pytest.mark.parametrize("transposed", [False, True])
def test_values_and_gradients_match_the_published_form(n: int, transposed: bool, isa: str) -> None:
    _check(ModulatedSineSpec(2, 26, 3), n, transposed=transposed)


@pytest.mark.parametrize(("n_grids", "n_hidden_layers"), [(1, 1), (3, 1), (3, 2), (2, 6), (8, 8)])
@pytest.mark.parametrize(("width", "sizes"), [(16, (1, 1, 1)), (80, (7, 33, 20)), (128, (70, 5, 2))])
def test_all_sizes_match(n_grids: int, n_hidden_layers: int, width: int, sizes: tuple, isa: str) -> None:
    _check(ModulatedSineSpec(*sizes, width, n_hidden_layers, n_grids, 5.0), 70)


def test_the_reference_agrees_with_finite_differences() -> None:
    spec = ModulatedSineSpec(2, 3, 2, 16, 3, 2, 3.0)
    *leaves, _ = (t.requires_grad_() for t in _sample(spec, 2))
    assert torch.autograd.gradcheck(lambda x, e, p: reference.forward(x, e, p, spec), leaves)


def test_layers_beyond_the_grids_take_the_last_grid_and_the_first_the_coordinates() -> None:
    spec = ModulatedSineSpec(2, 3, 1, 16, 4, 2)
    exact = [t.float() for t in _sample(spec, 20)]
    for place in (1, 5, 7):  # V_0, V_2, V_3 to zero matrices and biases: sin(0)^2 = 0 ends everything below
        params = exact[2].clone()
        for t in spec.maps(params)[place]:
            t.zero_()
        out = modulated_sine(exact[0], exact[1], params, spec)
        bias = spec.maps(params)[-1][1]
        if place == 7:
            torch.testing.assert_close(out, bias.expand_as(out))
        else:
            assert not torch.equal(out, bias.expand_as(out))
    features = exact[1].requires_grad_()
    out = modulated_sine(exact[0], features, exact[2], spec)
    assert (torch.autograd.grad(out.sum(), features)[0][20:] != 0).any()


def test_second_order_matches_the_reference_in_everything() -> None:
    spec = ModulatedSineSpec(2, 5, 2, 32, 3, 3, 7.0)
    exact = _sample(spec, 30)

    def all_orders(dtype: torch.dtype, call) -> list[torch.Tensor]:
        *leaves, upstream = (t.to(dtype).requires_grad_() for t in exact)
        first = torch.autograd.grad(call(*leaves, spec), leaves, upstream, create_graph=True)
        loss = sum((g.square().mean() for g in first), torch.zeros((), dtype=dtype))
        return [t.double() for t in torch.autograd.grad(loss, (*leaves, upstream))]

    for got, want in zip(
        all_orders(torch.float32, modulated_sine), all_orders(torch.float64, reference.forward), strict=True
    ):
        _close(got, want)


def test_library_op_is_the_same_to_second_order() -> None:
    spec = ModulatedSineSpec(2, 5, 2, 16, 2)
    *leaves, upstream = (t.float().requires_grad_() for t in _sample(spec, 30))

    def all_orders(out: torch.Tensor) -> list[torch.Tensor]:
        first = torch.autograd.grad(out, leaves[0], upstream, create_graph=True)[0]
        return [out, first, *torch.autograd.grad(first.square().sum(), (*leaves, upstream))]

    library = torch.ops.neural.modulated_sine(*leaves, list(spec.code), spec.frequency)
    for a, b in zip(all_orders(modulated_sine(*leaves, spec)), all_orders(library), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("n", [5, 3000, 33000])
def test_results_are_bit_equal_for_any_number_of_threads(n: int, isa: str) -> None:
    spec = ModulatedSineSpec(2, 6, 3, 32, 3)
    *leaves, upstream = (t.float().requires_grad_() for t in _sample(spec, n))

    def run():
        out = modulated_sine(*leaves, spec)
        return [out, *torch.autograd.grad(out, leaves, upstream)]

    same_bits(run)


def test_parameter_gradient_is_added_to_a_buffer(isa: str) -> None:
    spec = ModulatedSineSpec(2, 6, 3, 16, 2)
    exact = _sample(spec, 10_001)
    *leaves, upstream = (t.float().requires_grad_() for t in exact)
    buffer = GradientBuffer.like(leaves[2])
    buffer.grad.fill_(3.0)
    modulated_sine(*leaves, spec, accumulate=buffer).backward(upstream)
    expected = reference.backward(exact[3], *exact[:3], spec)
    assert leaves[2].grad is None
    _close(leaves[0].grad, expected[0])
    _close(leaves[1].grad, expected[1])
    _close(buffer.grad, expected[2] + 3)
    assert bool((buffer.touched == -1).all())


def test_only_the_gradients_asked_for_are_computed() -> None:
    spec = ModulatedSineSpec(2, 6, 3, 16, 2)
    coordinates, features, params, upstream = (t.float() for t in _sample(spec, 100))
    whole = [t.clone().requires_grad_() for t in (coordinates, features, params)]
    expected = torch.autograd.grad(modulated_sine(*whole, spec), whole, upstream)
    for wanted in range(3):
        leaves = [t.clone().requires_grad_(i == wanted) for i, t in enumerate((coordinates, features, params))]
        got = torch.autograd.grad(modulated_sine(*leaves, spec), leaves[wanted], upstream)[0]
        assert torch.equal(got, expected[wanted])


def test_large_angles_keep_the_digits_of_their_arguments(isa: str) -> None:
    # one neuron, no hidden mixing: sin(30 z) sin(30 v)^2 of z = v = the feature
    spec = ModulatedSineSpec(1, 1, 1, 16, 1, 1)
    params = torch.zeros(spec.n_params)
    (w, _), (v, _), (out, _) = spec.maps(params)
    w[0, 0] = v[0, 0] = out[0, 0] = 1
    z = torch.cat([torch.linspace(-40, 40, 4001), torch.tensor([0.0, 1e-20, -1e-8])])[:, None]
    got = modulated_sine(z, z, params, spec)
    expected = torch.sin(30 * z.double()) ** 3
    rounded = 2.0**-24 if isa == "baseline" else 0.0  # without fused multiply-adds the product 30 z is rounded
    bound = 6e-7 + 3 * 30 * 40 * rounded * 1.2
    assert float((got.double() - expected).abs().max()) < bound


def test_nan_stays_in_its_row(isa: str) -> None:
    spec = ModulatedSineSpec(2, 6, 3, 16, 2)
    coordinates, features, params, _ = (t.float() for t in _sample(spec, 40))
    features[40 + 7, 1] = torch.nan
    coordinates[9] = torch.inf
    out = modulated_sine(coordinates, features, params, spec)
    assert out[[7, 9]].isnan().all()
    assert out[[i for i in range(40) if i not in (7, 9)]].isfinite().all()


def test_no_samples_give_no_outputs_and_a_zero_gradient() -> None:
    spec = ModulatedSineSpec(2, 6, 3, 16, 2)
    leaves = [torch.zeros(0, 2), torch.zeros(0, 6), torch.ones(spec.n_params)]
    for leaf in leaves:
        leaf.requires_grad_()
    out = modulated_sine(*leaves, spec)
    assert out.shape == (0, 3)
    grads = torch.autograd.grad(out.sum(), leaves)
    assert [tuple(g.shape) for g in grads] == [(0, 2), (0, 6), (spec.n_params,)]
    assert (grads[2] == 0).all()


def test_wrong_arguments_say_what_to_do() -> None:
    spec = ModulatedSineSpec(2, 6, 3, 16, 2)
    params = torch.zeros(spec.n_params)
    with pytest.raises(ValueError, match="width must be a multiple of 16 from 16 to 128, got 20"):
        ModulatedSineSpec(2, 6, 3, 20)
    with pytest.raises(ValueError, match="n_grids must be 1 to 8, got 9"):
        ModulatedSineSpec(2, 6, 3, n_grids=9)
    with pytest.raises(ValueError, match="n_features must be at least 1, got 0"):
        ModulatedSineSpec(2, 0, 3)
    with pytest.raises(ValueError, match="frequency must be positive and finite, got nan"):
        ModulatedSineSpec(2, 6, 3, frequency=float("nan"))
    with pytest.raises(ValueError, match=r"features must be \[15, 6\], got \[5, 6\]"):
        modulated_sine(torch.zeros(5, 2), torch.zeros(5, 6), params, spec)
    with pytest.raises(ValueError, match="params must be contiguous"):
        modulated_sine(torch.zeros(5, 2), torch.zeros(15, 6), torch.zeros(2 * spec.n_params)[::2], spec)


CUDA_SPECS = [
    ModulatedSineSpec(2, 26, 3),
    ModulatedSineSpec(3, 30, 1, 64, 4),
    ModulatedSineSpec(1, 3, 20, 16, 1, 3),
    ModulatedSineSpec(5, 7, 2, 80, 5, 2, 9.0),
]


@pytest.mark.parametrize("spec", CUDA_SPECS, ids=lambda s: f"{s.n_features}-{s.width}x{s.n_hidden_layers}-{s.n_out}")
@pytest.mark.parametrize("n", [1, 64, 150])
def test_cuda_path_matches(spec: ModulatedSineSpec, n: int, cuda_device: torch.device) -> None:
    _check(spec, n, cuda_device, transposed=n == 150)


def test_cuda_blocks_take_several_tiles_and_repeat_their_bits(
    cuda_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModulatedSineSpec(2, 6, 3, 32, 3)
    monkeypatch.setattr("neural.cuda.modulated_sine._MAX_CUDA_BLOCKS", 2)  # 5 tiles: one block takes three
    _check(spec, 300, cuda_device)
    *leaves, upstream = (t.float().to(cuda_device).requires_grad_() for t in _sample(spec, 300))
    runs = [torch.autograd.grad(modulated_sine(*leaves, spec), leaves, upstream) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_cuda_path_adds_into_a_gradient(cuda_device: torch.device) -> None:
    spec = ModulatedSineSpec(2, 6, 3, 16, 2)
    exact = _sample(spec, 100)
    *leaves, upstream = (t.float().to(cuda_device).requires_grad_() for t in exact)
    buffer = GradientBuffer.like(leaves[2])
    buffer.grad.fill_(1.0)
    modulated_sine(*leaves, spec, accumulate=buffer).backward(upstream)
    _close(buffer.grad, reference.backward(exact[3], *exact[:3], spec)[2] + 1)
