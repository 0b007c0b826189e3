"""Colours of Gaussians against plain torch in double, finite differences, skipped ones, on every instruction set."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neural.cuda.gaussian_color import COEFFICIENTS, gaussian_color
from neural.cuda.reference import gaussian_color as reference
from tests.threads import same_bits


def scene(n: int, degree: int = 3, seed: int = 0) -> list[Tensor]:
    """means, centre, sh0, shN, float64; a part of the channels is cut off at black."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n, 3), (3,), (n, 3), (n, COEFFICIENTS[degree], 3))
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def leaves(tensors: list[Tensor], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [x.detach().to(dtype).clone().requires_grad_() for x in tensors]


def close(actual: Tensor | None, expected: Tensor | None, tolerance: float = 1e-5) -> None:
    assert actual is not None and expected is not None
    torch.testing.assert_close(actual.detach().double().cpu(), expected.detach(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("n", [1, 16, 203])
@pytest.mark.parametrize(("stored", "degree"), [(0, 0), (1, 1), (2, 2), (3, 3), (3, 0), (3, 1), (2, 1)])
@pytest.mark.parametrize("skipping", [False, True])
def test_values_and_gradients_match_plain_torch(stored: int, degree: int, n: int, skipping: bool, isa: str) -> None:
    """Coefficients beyond the degree get 0; an opacity of 0 takes a Gaussian out."""
    wide = leaves(scene(n, stored))
    narrow = leaves(wide, torch.float32)
    generator = torch.Generator().manual_seed(1)
    opacities = (torch.rand(n, generator=generator) - 0.4).clamp_min(0) if skipping else None
    if opacities is not None:
        opacities[32:80] = 0  # whole vectors
    expected = reference.forward(*wide, opacities, degree)
    found = gaussian_color(*narrow, degree, opacities=opacities)
    assert found.stride() == (1, n)
    close(found, expected)
    upstream = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    for order in (upstream, upstream.T.contiguous().T):
        for x in (*wide, *narrow):
            x.grad = None
        torch.autograd.backward(expected, upstream, retain_graph=True)
        torch.autograd.backward(found, order.float(), retain_graph=True)
        for a, b, tolerance in zip(narrow, wide, (1e-4, 1e-3, 1e-5, 1e-5), strict=True):
            close(a.grad, b.grad if b.grad is not None else torch.zeros_like(b), tolerance)


def test_the_reference_agrees_with_finite_differences() -> None:
    inputs = leaves(scene(6))
    assert torch.autograd.gradcheck(lambda *a: reference.forward(*a, None, 3), inputs)


def test_degree_zero_is_the_stored_colour(isa: str) -> None:
    colors = torch.rand(20, 3)
    found = gaussian_color(
        torch.randn(20, 3), torch.zeros(3), (colors - 0.5) / 0.28209479177387814, torch.zeros(20, 0, 3), 0
    )
    torch.testing.assert_close(found, colors)


def test_results_are_equal_for_any_number_of_threads() -> None:
    inputs = scene(9001)

    def run():
        narrow = leaves(inputs, torch.float32)
        found = gaussian_color(*narrow, 3)
        found.square().sum().backward()
        return [found.detach(), *(x.grad for x in narrow)]

    same_bits(run)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
@pytest.mark.parametrize("which", range(4))
def test_what_is_not_finite_stays_with_its_own_gaussian(which: int, value: float, isa: str) -> None:
    """It is black or has a finite colour, no gradient is NaN, and its neighbours are what they were."""
    clean = leaves([scene(20)[0], torch.zeros(3), *scene(20)[2:]], torch.float32)
    poisoned = leaves(clean, torch.float32)
    target = poisoned[which].detach()
    (target if which == 1 else target[3]).view(-1)[-1] = value
    results = []
    for narrow in (clean, poisoned):
        found = gaussian_color(*narrow, 3)
        found.sum().backward()
        results.append([found.detach(), *(narrow[i].grad for i in (0, 2, 3))])
    assert all(bool(x.isfinite().all()) for x in results[1])
    if which == 1:
        return
    others = [i for i in range(20) if i != 3]
    assert all(torch.equal(a[others], b[others]) for a, b in zip(*results, strict=True))
    if which > 1:
        assert all(bool((x[3] == 0).all()) for x in results[1]) or value == 3e38


@settings(max_examples=60)
@given(numbers=st.lists(st.floats(-(2.0**40), 2.0**40, width=32), min_size=12, max_size=12), degree=st.integers(0, 3))
def test_no_finite_value_makes_a_nan(numbers: list[float], degree: int) -> None:
    x = torch.tensor(numbers)
    narrow = leaves([x[:3][None], x[3:6], x[6:9][None], x[9:].expand(1, 15, 3)], torch.float32)
    found = gaussian_color(*narrow, degree)
    found.sum().backward()
    assert bool(found.isfinite().all()) and bool((found >= 0).all())
    assert all(bool(v.grad.isfinite().all()) for v in narrow)  # type: ignore[union-attr]


def test_a_gaussian_at_the_camera_has_a_colour(isa: str) -> None:
    narrow = leaves(scene(5), torch.float32)
    with torch.no_grad():
        narrow[0][2] = narrow[1]
    found = gaussian_color(*narrow, 3)
    found.sum().backward()
    assert bool(found.isfinite().all()) and torch.equal(narrow[0].grad[2], torch.zeros(3))  # type: ignore[index]


def test_no_gaussians(isa: str) -> None:
    narrow = leaves(scene(0), torch.float32)
    found = gaussian_color(*narrow, 3)
    found.sum().backward()
    assert found.shape == (0, 3) and torch.equal(narrow[1].grad, torch.zeros(3))  # type: ignore[arg-type]


def test_compiles_as_one_graph() -> None:
    narrow = [x.float() for x in scene(7)]
    compiled = torch.compile(lambda *a: gaussian_color(*a, 2), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*narrow), gaussian_color(*narrow, 2))


def test_wrong_arguments_say_what_to_do() -> None:
    narrow = [x.float() for x in scene(5, 1)]
    with pytest.raises(ValueError, match="got degree 2 with 3"):
        gaussian_color(*narrow, 2)
    with pytest.raises(ValueError, match="got degree 0 with 2"):
        gaussian_color(*narrow[:3], narrow[3][:, :2], 0)
