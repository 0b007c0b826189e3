"""The fused MLP against the layer-by-layer network in float64: values, gradients and second order."""

import pytest
import torch

from neural.cuda.gradients import GradientBuffer
from neural.cuda.mlp import mlp, mlp_input_gradient
from neural.cuda.mlp_spec import ACTIVATIONS, MLPSpec
from neural.cuda.reference import mlp as reference
from tests.threads import same_bits

# of the largest entry: fp32 sums of up to 128 terms through up to 9 layers
TOLERANCE = 2e-5


def _sample(spec: MLPSpec, n: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """inputs, params, upstream gradient and cotangent of the input gradient, in float64 that fp32 holds exactly."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (n, spec.n_in), (spec.n_params,), (n, spec.n_out), (n, spec.n_in)
    inputs, params, upstream, second = (torch.randn(s, generator=generator).double() for s in sizes)
    gain = 0.4 if "exp" in (spec.activation, spec.output_activation) else 1.0
    for weight, bias in spec.layers(params):
        weight.mul_(gain / weight.shape[1] ** 0.5)
        if bias is not None:
            bias.mul_(0.3)
    return inputs, params.float().double(), upstream, second


def _close(got: torch.Tensor, expected: torch.Tensor) -> None:
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(got.detach().cpu().double(), expected, atol=TOLERANCE * scale + 1e-9, rtol=0)


def _check_all_orders(spec: MLPSpec, n: int, device: torch.device | str = "cpu", transposed: bool = False) -> None:
    exact = _sample(spec, n)

    def leaf(t: torch.Tensor) -> torch.Tensor:
        t = t.float().to(device)
        return (t.t().contiguous().t() if transposed and t.ndim == 2 else t.contiguous()).requires_grad_()

    inputs, params, upstream, second = (leaf(t) for t in exact)
    out = mlp(inputs, params, spec)
    _close(out, reference.forward(*exact[:2], spec))
    to_inputs, to_params = torch.autograd.grad(out, (inputs, params), upstream, create_graph=True)
    expected = reference.backward(exact[2], *exact[:2], spec)
    _close(to_inputs, expected[0])
    _close(to_params, expected[1])
    results = torch.autograd.grad(to_inputs, (upstream, inputs, params), second)
    for got, want in zip(results, reference.backward_backward(exact[3], exact[2], *exact[:2], spec), strict=True):
        _close(got, want)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("transposed", [False, True])
def test_all_orders_match_for_each_activation(activation: str, transposed: bool, isa: str) -> None:
    _check_all_orders(MLPSpec(5, 3, 32, 2, activation, "none", True, 2.0), 77, transposed=transposed)  # type: ignore[arg-type]
    _check_all_orders(MLPSpec(17, 4, 16, 1, "softplus", activation, False, 2.0), 65, transposed=transposed)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [16, 32, 48, 64, 80, 96, 112, 128])
@pytest.mark.parametrize("n_hidden_layers", [1, 3, 8])
def test_all_orders_match_for_each_size(width: int, n_hidden_layers: int, isa: str) -> None:
    _check_all_orders(MLPSpec(3, 1, width, n_hidden_layers, "silu", bias=True), 70)


@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (3, 16), (32, 16), (33, 7), (200, 130)])
@pytest.mark.parametrize("n", [1, 15, 64, 300])
def test_all_orders_match_for_any_ends_and_batch(n_in: int, n_out: int, n: int, isa: str) -> None:
    _check_all_orders(MLPSpec(n_in, n_out, 32, 2, "softplus", "sigmoid"), n)


@pytest.mark.parametrize("activation", ["softplus", "sine", "silu", "sigmoid"])
def test_reference_gradients_agree_with_finite_differences(activation: str) -> None:
    spec = MLPSpec(3, 2, 16, 2, activation, bias=True)  # type: ignore[arg-type]
    inputs, params, upstream, _ = (t.requires_grad_() for t in _sample(spec, 2))
    assert torch.autograd.gradcheck(lambda x, theta: reference.forward(x, theta, spec), (inputs, params))

    def to_inputs(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(reference.forward(x, params, spec), x, u, create_graph=True)[0]

    assert torch.autograd.gradcheck(to_inputs, (inputs, upstream))


def test_eikonal_loss_trains_on_the_same_gradient_as_the_oracle() -> None:
    spec = MLPSpec(3, 1, 64, 3, "softplus", bias=True)
    inputs, params, *_ = _sample(spec, 200)

    def gradient_of_loss(dtype: torch.dtype, fused: bool) -> torch.Tensor:
        x, theta = inputs.to(dtype).requires_grad_(), params.to(dtype).requires_grad_()
        ones = torch.ones(200, 1, dtype=dtype)
        if fused:
            normals = mlp_input_gradient(ones, x, theta, spec)
        else:
            normals = torch.autograd.grad(reference.forward(x, theta, spec), x, ones, create_graph=True)[0]
        loss = (normals.norm(dim=-1) - 1).square().mean()
        return torch.autograd.grad(loss, theta)[0].double()

    _close(gradient_of_loss(torch.float32, True), gradient_of_loss(torch.float64, False))


@pytest.mark.parametrize("n", [5, 3000, 33000])
def test_results_are_bit_equal_for_any_number_of_threads(n: int, isa: str) -> None:
    spec = MLPSpec(32, 16, 64, 2, "softplus", bias=True)
    inputs, params, upstream, second = (t.float().requires_grad_() for t in _sample(spec, n))

    def run():
        out = mlp(inputs, params, spec)
        grads = torch.autograd.grad(out, (inputs, params), upstream, create_graph=True)
        seconds = torch.autograd.grad(grads[0], (upstream, inputs, params), second)
        return [out, *grads, *seconds]

    same_bits(run)


def test_parameter_gradient_sums_all_ranges_of_a_large_batch(isa: str) -> None:
    spec = MLPSpec(8, 4, 16, 1, "relu", bias=True)
    inputs, params, upstream, _ = _sample(spec, 40_001)
    buffer = GradientBuffer.like(params.float())
    buffer.grad.fill_(3.0)
    leaves = inputs.float().requires_grad_(), params.float().requires_grad_()
    mlp(*leaves, spec, accumulate=buffer).backward(upstream.float())
    expected = reference.backward(upstream, inputs, params, spec)
    assert leaves[0].grad is not None and leaves[1].grad is None
    _close(leaves[0].grad, expected[0])
    _close(buffer.grad, expected[1] + 3)
    assert bool((buffer.touched == -1).all())


def test_slices_and_expanded_gradients_are_taken() -> None:
    spec = MLPSpec(4, 3, 16, 1)
    inputs, params, _, _ = (t.float() for t in _sample(spec, 20))
    plain = inputs.clone().requires_grad_()
    mlp(plain, params, spec).backward(torch.ones(20, 3))
    spread = torch.stack([inputs, inputs], -1)[..., 0].requires_grad_()  # strides 8 and 2: no unit stride
    mlp(spread, params, spec).sum().backward()  # an expanded gradient of strides 0
    assert plain.grad is not None and spread.grad is not None
    assert torch.equal(plain.grad, spread.grad)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_stays_in_its_row(activation: str, isa: str) -> None:
    spec = MLPSpec(3, 2, 16, 2, activation, "relu", True)  # type: ignore[arg-type]
    inputs, params, _, _ = (t.float() for t in _sample(spec, 40))
    inputs[7, 1] = torch.nan
    out = mlp(inputs, params, spec)
    assert out[7].isnan().all()
    assert out[torch.arange(40) != 7].isfinite().all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_finite_and_exact_far_from_zero(activation: str, isa: str) -> None:
    # a chain of ones: output = phi(input), whatever its size
    spec = MLPSpec(1, 1, 16, 1, "none", activation, False)  # type: ignore[arg-type]
    params = torch.zeros(spec.n_params)
    for weight, _ in spec.layers(params):
        weight[0, 0] = 1
    z = torch.cat([torch.linspace(-60, 60, 241), torch.tensor([-300.0, -1e-6, 1e-6, 87.0])])[:, None].requires_grad_()
    out = mlp(z, params, spec)
    expected = reference.activate(activation, z.detach().double())
    torch.testing.assert_close(out.detach().double(), expected, rtol=2e-6, atol=1e-6 if activation == "sine" else 1e-30)
    slope = torch.autograd.grad(out.sum(), z)[0]
    assert slope.isfinite().all()


def test_relu_has_no_slope_and_no_curvature_at_zero() -> None:
    spec = MLPSpec(2, 1, 16, 1, "relu")
    inputs = torch.zeros(3, 2, requires_grad=True)
    params = torch.ones(spec.n_params, requires_grad=True)
    grad = torch.autograd.grad(mlp(inputs, params, spec).sum(), inputs, create_graph=True)[0]
    assert (grad == 0).all()
    assert (torch.autograd.grad(grad.sum(), inputs)[0] == 0).all()


def test_no_samples_give_no_outputs_and_a_zero_gradient() -> None:
    spec = MLPSpec(3, 2, 16, 2, "softplus")
    inputs, params = torch.zeros(0, 3, requires_grad=True), torch.ones(spec.n_params, requires_grad=True)
    out = mlp(inputs, params, spec)
    assert out.shape == (0, 2)
    to_inputs, to_params = torch.autograd.grad(out.sum(), (inputs, params), create_graph=True)
    assert to_inputs.shape == (0, 3)
    assert (to_params == 0).all()
    assert (torch.autograd.grad(to_inputs.sum(), params)[0] == 0).all()


def test_wrong_arguments_say_what_to_do() -> None:
    spec = MLPSpec(3, 2, 16, 1)
    params = torch.zeros(spec.n_params)
    with pytest.raises(ValueError, match="width must be a multiple of 16 from 16 to 128, got 20; use 32"):
        MLPSpec(3, 2, 20)
    with pytest.raises(ValueError, match="n_hidden_layers must be 1 to 8, got 9"):
        MLPSpec(3, 2, 64, 9)
    with pytest.raises(ValueError, match=r"unknown activation 'gelu'; choose one of: none, relu, .*, exp"):
        MLPSpec(3, 2, activation="gelu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="frequency must be positive and finite, got nan"):
        MLPSpec(3, 2, frequency=float("nan"))
    with pytest.raises(ValueError, match=r"inputs must be \[N, 3\], got \[3, 5\]; transpose"):
        mlp(torch.zeros(3, 5), params, spec)
    with pytest.raises(TypeError, match=r"inputs must be float32, got float64; call \.to\(torch\.float32\)"):
        mlp(torch.zeros(5, 3, dtype=torch.float64), params, spec)
    with pytest.raises(ValueError, match=r"params must be \[80\], got \[81\]"):
        mlp(torch.zeros(5, 3), torch.zeros(81), spec)
    with pytest.raises(ValueError, match="params must be on cpu, got meta"):
        mlp(torch.zeros(5, 3), params.to("meta"), spec)
    with pytest.raises(ValueError, match="params must be contiguous"):
        mlp(torch.zeros(5, 3), torch.zeros(160)[::2], spec)
    with pytest.raises(ValueError, match=r"grad must be \[5, 2\], got \[5, 3\]"):
        mlp_input_gradient(torch.zeros(5, 3), torch.zeros(5, 3), params, spec)


def test_a_second_derivative_of_the_parameter_gradient_is_refused() -> None:
    spec = MLPSpec(3, 2, 16, 1)
    params = torch.ones(spec.n_params, requires_grad=True)
    grad = torch.autograd.grad(mlp(torch.ones(4, 3), params, spec).sum(), params, create_graph=True)[0]
    with pytest.raises(NotImplementedError, match="only the gradient to the inputs; for this build the network"):
        grad.sum().backward()


def test_library_op_has_the_same_gradients_to_second_order() -> None:
    spec = MLPSpec(3, 2, 16, 2, "softplus", bias=True)
    inputs, params, upstream, second = (t.float().requires_grad_() for t in _sample(spec, 30))

    def all_orders(out: torch.Tensor) -> list[torch.Tensor]:
        first = torch.autograd.grad(out, inputs, upstream, create_graph=True)[0]
        return [out, first, *torch.autograd.grad(first, (upstream, inputs, params), second)]

    fused = all_orders(mlp(inputs, params, spec))
    library = all_orders(torch.ops.neural.mlp(inputs, params, list(spec.code), spec.frequency))
    assert all(torch.equal(a, b) for a, b in zip(fused, library, strict=True))


CUDA_SPECS = [
    MLPSpec(3, 1, 16, 1, "softplus", bias=True),
    MLPSpec(33, 5, 64, 2, "silu", "sigmoid"),
    MLPSpec(20, 70, 80, 3, "sine", "none", True, 3.0),
    MLPSpec(32, 16, 64, 2, "relu", "exp"),
    MLPSpec(130, 17, 128, 1, "leaky_relu", "softplus", True),
]


@pytest.mark.parametrize("spec", CUDA_SPECS, ids=lambda s: f"{s.n_in}-{s.width}x{s.n_hidden_layers}-{s.n_out}")
@pytest.mark.parametrize("n", [1, 64, 150])
def test_cuda_path_matches_in_all_orders(spec: MLPSpec, n: int, cuda_device: torch.device) -> None:
    _check_all_orders(spec, n, cuda_device, transposed=n == 150)


def test_cuda_blocks_take_several_tiles_and_repeat_their_bits(
    cuda_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = CUDA_SPECS[1]
    monkeypatch.setattr("neural.cuda.mlp._MAX_CUDA_BLOCKS", 2)  # 5 tiles: one block takes three, the last is short
    _check_all_orders(spec, 300, cuda_device)
    leaves = [t.float().to(cuda_device).requires_grad_() for t in _sample(spec, 300)]
    runs = []
    for _ in range(2):
        inputs, params, upstream, second = leaves
        first = torch.autograd.grad(mlp(inputs, params, spec), (inputs, params), upstream, create_graph=True)
        runs.append((*first, *torch.autograd.grad(first[0], (upstream, inputs, params), second)))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_cuda_path_adds_into_a_gradient(cuda_device: torch.device) -> None:
    spec = MLPSpec(3, 2, 16, 1, "relu", bias=True)
    inputs, params, upstream, _ = _sample(spec, 100)
    on_device = [t.float().to(cuda_device) for t in (upstream, inputs, params)]
    buffer = GradientBuffer.like(on_device[2])
    buffer.grad.fill_(1.0)
    mlp(on_device[1], on_device[2].requires_grad_(), spec, accumulate=buffer).backward(on_device[0])
    _close(buffer.grad, reference.backward(upstream, inputs, params, spec)[1] + 1)
