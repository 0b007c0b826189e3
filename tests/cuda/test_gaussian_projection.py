"""Projection of Gaussians against plain torch in double, finite differences and extremes, on every instruction set."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neural import lenses
from neural.cuda.gaussian_projection import MODELS, Projected, project
from neural.cuda.reference import gaussian_projection as reference
from tests.threads import same_bits

SIZE = (128, 96)
NAMES = ("means", "quats", "log_scales", "opacity_logits", "w2c", "intrinsics")
LENSES = {"opencv": [0.1, -0.05, 0.01, -0.02, 0.01, 0.02, 0.01, 0.0], "fisheye": [0.05, -0.01, 0.002, 0.0, 0, 0, 0, 0]}


def scene(n: int, model: str = "perspective", seed: int = 0) -> list[Tensor]:
    """The six first arguments, float64: Gaussians in front of, beside and behind a turned camera."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    w2c = torch.eye(4, dtype=torch.float64)
    w2c[:3, :3] = reference.rotations(torch.tensor([[1.0, 0.1, -0.2, 0.05]], dtype=torch.float64))[0]
    w2c[:3, 3] = torch.tensor([0.1, -0.2, 3.0])
    focal = 20.0 if model == "orthographic" else 90.0
    intrinsics = torch.tensor([focal, 1.1 * focal, 65.0, 47.0], dtype=torch.float64)
    means = normal(n, 3) * torch.tensor([2.0, 1.5, 1.6])
    return [means, normal(n, 4) * 3, normal(n, 3) * 0.6 - 2, normal(n) * 2, w2c, intrinsics]


def lens(model: str) -> dict[str, Any]:
    if model not in LENSES:
        return {}
    distortion = torch.tensor(LENSES[model], dtype=torch.float64)
    index = lenses.OPENCV if model == "opencv" else lenses.FISHEYE
    return {"distortion": distortion, "fold": lenses.fold(distortion, index)}


def oracle(scene: list[Tensor], model: str, antialiased: bool = False, **given: Any) -> Tensor:
    options = {"near": 0.1, "far": math.inf, "distortion": None, "fold": math.inf, **lens(model), **given}
    options.setdefault("blur", 0.1 if antialiased else 0.3)
    return reference.forward(
        *scene, options["distortion"], *SIZE, options["near"], options["far"], options["blur"], antialiased,
        MODELS.index(model), options["fold"],
    )  # fmt: skip


def rows(projected: Projected) -> Tensor:
    return torch.cat([x if x.ndim == 2 else x[:, None] for x in projected], dim=1).T


def single(scene: list[Tensor]) -> list[Tensor]:
    """As the op takes them: parameters in single precision, the camera as it is."""
    return [*(x.float() for x in scene[:4]), *scene[4:]]


def leaves(tensors: list[Tensor]) -> list[Tensor]:
    return [x.detach().clone().requires_grad_() for x in tensors]


def close(actual: Tensor, expected: Tensor, tolerance: float = 2e-5) -> None:
    """To within a share of the largest value of the tensor and of each value."""
    scale = float(expected.detach().abs().max())
    torch.testing.assert_close(actual.detach().double().cpu(), expected.detach(), atol=tolerance * scale, rtol=1e-3)


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_values_and_gradients_match_plain_torch(model: str, antialiased: bool, isa: str) -> None:
    wide = leaves(scene(201, model))
    expected = oracle(wide, model, antialiased)
    assert 0.2 < float((expected[5] > 0).double().mean()) < 0.9
    narrow = leaves(single(wide))
    got = project(*narrow, SIZE, near=0.1, antialiased=antialiased, model=model, **lens(model))  # type: ignore[arg-type]
    found = rows(got)
    assert torch.equal(found[5] > 0, expected[5] > 0)
    tolerance = 2e-5 if model in ("perspective", "orthographic") else 2e-4
    for row, wanted in zip(found, expected, strict=True):
        close(row, wanted, tolerance)
    upstream = torch.randn(7, 201, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    upstream[2:5] *= expected[5] > 0.05  # of barely visible ones the conic is all there is
    (expected[:7] * upstream).sum().backward()
    (found[:7] * upstream.float()).sum().backward()
    for name, a, b in zip(NAMES, narrow, wide, strict=True):
        assert a.grad is not None and b.grad is not None and a.grad.dtype == a.dtype, name
        close(a.grad, b.grad, 10 * tolerance)


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_the_reference_agrees_with_finite_differences(model: str, antialiased: bool) -> None:
    """Also with respect to the pose and the intrinsics."""
    inputs = scene(40, model)
    seen = (oracle(inputs, model)[5] > 0).nonzero()[:8, 0]
    few = leaves([*(x[seen] for x in inputs[:4]), *inputs[4:]])
    assert torch.autograd.gradcheck(lambda *a: oracle(list(a), model, antialiased)[:7], few)


def test_a_lens_without_distortion_sees_small_gaussians_as_a_pinhole() -> None:
    inputs = single(scene(200))
    inputs[2] = inputs[2] - 4  # where the linear image is all there is
    inputs[0] = inputs[0] * 0.3
    plain, bent = (rows(project(*inputs, SIZE, model=model)) for model in ("perspective", "opencv"))
    both = (plain[5] > 0) & (bent[5] > 0)
    assert int(both.sum()) > 100
    torch.testing.assert_close(bent[:, both], plain[:, both], atol=2e-3, rtol=5e-3)


@pytest.mark.parametrize("model", ["opencv", "fisheye"])
def test_lenses_put_centres_where_cameras_project_them(model: str) -> None:
    """The conventions of distortion are those of `neural.lenses`."""
    inputs = scene(100, model)
    inputs[2] = inputs[2] - 8
    image = rows(project(*single(inputs), SIZE, model=model, **lens(model)))  # type: ignore[arg-type]
    points = inputs[0] @ inputs[4][:3, :3].T + inputs[4][:3, 3]
    index = lenses.OPENCV if model == "opencv" else lenses.FISHEYE
    plane = lenses.project(points, lens(model)["distortion"], index)
    expected = plane * inputs[5][:2] + inputs[5][2:]
    seen = image[5] > 0
    assert int(seen.sum()) > 30
    torch.testing.assert_close(image[:2, seen].T.double(), expected[seen], atol=2e-3, rtol=1e-4)


def test_a_fisheye_sees_beside_and_behind_itself(isa: str) -> None:
    """At 100 degrees from the axis the depth is the distance, and the gradient is that of the reference."""
    angle = math.radians(100)
    means = torch.tensor([[2 * math.sin(angle), 0.0, 2 * math.cos(angle)]], dtype=torch.float64)
    quats, log_scales = torch.tensor([[1.0, 0.2, 0, 0]]).double(), torch.tensor([[-3.0, -1, -2]]).double()
    wide = [means, quats, log_scales, torch.zeros(1).double(), torch.eye(4).double()]
    wide = leaves([*wide, torch.tensor([30.0, 30.0, 64.0, 48.0]).double()])
    narrow = leaves(single(wide))
    expected = oracle(wide, "fisheye")
    found = rows(project(*narrow, SIZE, model="fisheye", **lens("fisheye")))
    assert float(found[5].detach()) > 0 and float(found[6].detach()) == pytest.approx(2.0)
    close(found, expected, 2e-4)
    expected[:7].square().sum().backward()
    found[:7].square().sum().backward()
    for a, b in zip(narrow, wide, strict=True):
        close(a.grad, b.grad, 2e-3)  # type: ignore[arg-type]


@pytest.mark.parametrize("which", range(4))
def test_each_output_alone_sends_its_gradient(which: int) -> None:
    wide, narrow = leaves(scene(50)), leaves(single(scene(50)))
    parts = (slice(0, 2), slice(2, 5), slice(5, 6), slice(6, 7))
    upstream = torch.randn(7, 50, generator=torch.Generator().manual_seed(2), dtype=torch.float64)[parts[which]]
    (oracle(wide, "perspective")[parts[which]] * upstream).sum().backward()
    output = project(*narrow, SIZE, near=0.1)[which]
    (output.reshape(50, -1).T * upstream.float()).sum().backward()
    for a, b in zip(narrow, wide, strict=True):
        close(a.grad, b.grad, 2e-4)  # type: ignore[arg-type]


def test_only_the_camera_may_want_a_gradient() -> None:
    """A pose is fitted to a fixed scene."""
    inputs = single(scene(30))
    w2c = inputs[4].clone().requires_grad_()
    project(*inputs[:4], w2c, inputs[5], SIZE).means2d.sum().backward()
    wide = leaves(scene(30))
    oracle(wide, "perspective", near=0.01)[:2].sum().backward()
    assert w2c.grad is not None and w2c.grad[3].abs().sum() == 0
    close(w2c.grad, wide[4].grad, 1e-4)  # type: ignore[arg-type]


def test_results_are_equal_for_any_number_of_threads() -> None:
    inputs = single(scene(9001))

    def run():
        given_ = leaves(inputs)
        found = rows(project(*given_, SIZE, antialiased=True))
        found[:7].sin().sum().backward()
        return [found.detach(), *(x.grad for x in given_)]

    same_bits(run)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("means", [0.1, 0, -4]), ("means", [0.0, 0, 0.005]), ("means", [0.0, 0, 50]), ("means", [30.0, 0, 4]),
        ("means", [math.nan, 0, 4]), ("means", [math.inf, 0, 4]), ("means", [3e38, 3e38, 3e38]),
        ("quats", [0.0, 0, 0, 0]), ("quats", [math.nan, 0, 0, 0]), ("quats", [math.inf, 0, 0, 0]),
        ("log_scales", [math.nan, 0, 0]), ("log_scales", [math.inf, 0, 0]), ("log_scales", [90.0, 90, 90]),
        ("opacity_logits", -5.6), ("opacity_logits", math.nan), ("opacity_logits", -math.inf),
    ],
)  # fmt: skip
@pytest.mark.parametrize("model", ["perspective", "opencv", "fisheye"])
def test_what_is_culled_is_exactly_zero(name: str, value: Any, model: str, isa: str) -> None:
    """Behind, near, far, beside, faint, without direction or not a number: values and gradients 0, not the next one."""
    inputs = [
        torch.tensor([[0.1, 0.2, 4.0]] * 2), torch.tensor([[1.0, 0.1, 0, 0]] * 2), torch.full((2, 3), -2.0),
        torch.zeros(2), torch.eye(4), torch.tensor([90.0, 90, 64, 48]),
    ]  # fmt: skip
    inputs[NAMES.index(name)][0] = torch.tensor(value)
    narrow = leaves(inputs)
    options: dict[str, Any] = {"model": model, "fold": math.radians(120) if model == "fisheye" else math.inf}
    found = rows(project(*narrow, SIZE, far=20.0, antialiased=True, **options))
    assert torch.equal(found[:, 0], torch.zeros(9))
    assert (found[5:, 1] > 0).all()
    (found[:7] * 3).sum().backward()
    for x in narrow[:4]:
        assert x.grad is not None
        assert torch.equal(x.grad[0], torch.zeros_like(x.grad[0])) and bool((x.grad[1] != 0).any())
    assert all(bool(x.grad.isfinite().all()) for x in narrow)  # type: ignore[union-attr]


def test_extents_bound_what_is_at_least_a_255th() -> None:
    inputs = single(scene(300))
    found = project(*inputs, SIZE)
    seen = (found.opacities > 0).nonzero()[:, 0]
    turn = torch.linspace(0, 2 * math.pi, 721)
    circle = torch.stack([turn.cos(), turn.sin()], dim=1)
    for i in seen[:40]:
        a, b, c = found.conics[i].double()
        shape = torch.linalg.cholesky(torch.linalg.inv(torch.tensor([[a, b], [b, c]])))
        border = circle.double() @ shape.T * math.sqrt(2 * math.log(255 * float(found.opacities[i])))
        torch.testing.assert_close(border.amax(0).float(), found.extents[i], rtol=2e-3, atol=1e-4)


def test_antialiasing_keeps_what_a_pixel_gathers(isa: str) -> None:
    """A Gaussian far below a pixel: its opacity falls as the share of its own area in the blurred one."""
    inputs = [torch.tensor([[0.0, 0, 4]]), torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), math.log(0.02))]
    inputs += [torch.full((1,), 5.0), torch.eye(4), torch.tensor([50.0, 50, 64, 48])]
    plain, dimmed = project(*inputs, SIZE, blur=0.1), project(*inputs, SIZE, antialiased=True)
    variance = (0.02 * 50 / 4) ** 2
    ratio = float(dimmed.opacities / plain.opacities)
    assert ratio == pytest.approx(variance / (variance + 0.1), rel=1e-4)
    torch.testing.assert_close(dimmed.conics, plain.conics)


EXTREME = st.one_of(
    st.floats(-6, 6, width=32), st.floats(width=32, allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, 1e-38, 1e-20, 1e20, 3e38, -3e38, 88.0, -90.0, 40.0]),
)  # fmt: skip


@settings(max_examples=150)
@given(
    numbers=st.lists(EXTREME, min_size=11, max_size=11), model=st.sampled_from(MODELS), antialiased=st.booleans(),
    blur=st.sampled_from([0.0, 0.3]), depth=st.sampled_from([1e-2, 1.0, 1e4]),
)  # fmt: skip
def test_no_value_makes_a_nan(numbers: list[float], model: str, antialiased: bool, blur: float, depth: float) -> None:
    x = torch.tensor(numbers)
    inputs = [x[:3][None].clone(), x[3:7][None], x[7:10][None], x[10:], torch.eye(4), torch.tensor([90.0, 90, 64, 48])]
    inputs[0][0, 2] += depth
    narrow = leaves(inputs)
    options = {name: x.float() if isinstance(x, Tensor) else x for name, x in lens(model).items()}
    found = rows(project(*narrow, SIZE, antialiased=antialiased, blur=blur, model=model, **options))  # type: ignore[arg-type]
    assert bool(found.isfinite().all())
    found[:7].sum().backward()
    if float(found[5].detach()) == 0:
        assert all(bool((v.grad == 0).all()) for v in narrow)
    assert not any(bool(v.grad.isnan().any()) for v in narrow)  # type: ignore[union-attr]


def _extreme(generator: torch.Generator, *shape: int) -> Tensor:
    """Half of the numbers about 1, half of any magnitude, some special."""

    def uniform() -> Tensor:
        return torch.rand(shape, generator=generator)

    magnitude = torch.where(uniform() < 0.5, 1.0, torch.exp(160 * uniform() - 80))
    numbers = torch.randn(shape, generator=generator) * magnitude
    special = torch.tensor([0.0, math.nan, math.inf, -math.inf, 1e-38, 3e38, -3e38, 1e20, -1e-20])
    chosen = special[torch.randint(len(special), shape, generator=generator)]
    return torch.where(uniform() < 0.03, chosen, numbers)


@pytest.mark.parametrize("blur", [0.0, 0.3])
@pytest.mark.parametrize("model", MODELS)
def test_twenty_thousand_extremes_make_no_nan(model: str, blur: float, isa: str) -> None:
    """Thousands of them are seen, as scales are kept near the ordinary in most."""
    generator, n = torch.Generator().manual_seed(0), 20_000
    scales = _extreme(generator, n, 3) * torch.where(torch.rand(n, 3, generator=generator) < 0.7, 0.05, 1.0) - 1
    inputs = [_extreme(generator, n, 3), _extreme(generator, n, 4), scales, torch.randn(n, generator=generator) * 4]
    inputs[0][:, 2] += 1
    narrow = leaves([*inputs, torch.eye(4), torch.tensor([90.0, 90, 64, 48])])
    options = {name: x.float() if isinstance(x, Tensor) else x for name, x in lens(model).items()}
    for antialiased in (False, True):
        found = rows(project(*narrow, SIZE, antialiased=antialiased, blur=blur, model=model, **options))  # type: ignore[arg-type]
        assert bool(found.isfinite().all()) and int((found[5] > 0).sum()) > 1000
        gradients = torch.autograd.grad(found[:7].sum(), narrow[:4])
        assert not any(bool(x.isnan().any()) for x in gradients)
        assert all(bool((x[found[5] == 0] == 0).all()) for x in gradients)


def test_no_gaussians(isa: str) -> None:
    narrow = leaves(single(scene(0)))
    found = project(*narrow, SIZE)
    assert [list(x.shape) for x in found] == [[0, 2], [0, 3], [0], [0], [0, 2]]
    found.means2d.sum().backward()
    assert torch.equal(narrow[5].grad, torch.zeros(4).double())


def test_compiles_as_one_graph() -> None:
    inputs = single(scene(20, "opencv"))
    options: dict[str, Any] = {"model": "opencv", **lens("opencv")}
    compiled = torch.compile(lambda *a: tuple(project(*a, SIZE, **options)), fullgraph=True, backend="aot_eager")
    for a, b in zip(compiled(*inputs), project(*inputs, SIZE, **options), strict=True):
        assert torch.equal(a, b)


def test_wrong_arguments_say_what_to_do() -> None:
    inputs = single(scene(5))
    for options, message in (
        ({"model": "pinhole"}, "model must be one of perspective, orthographic, opencv, fisheye, got 'pinhole'"),
        ({"near": 2.0, "far": 1.0}, "near < far"), ({"near": 0.0}, "near > 0"), ({"blur": -1.0}, "blur must be"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            project(*inputs, SIZE, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="size must be 1 to"):
        project(*inputs, (0, 5))
