"""Blending pairs into points: values and all derivatives against autograd through plain torch in float64."""

import pytest
import torch
from torch import Tensor

from neural.cuda.cell_blend import cell_blend
from neural.cuda.reference import cell_blend as reference
from tests.threads import same_bits


def _case(n: int, slots: int, weighted: bool, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Features of pairs, places, order and weights; half of the entries have a pair, in random order."""
    generator = torch.Generator().manual_seed(seed)
    entries = torch.randperm(n * slots, generator=generator)[: n * slots // 2]
    places = torch.full((n * slots,), -1, dtype=torch.int32)
    places[entries] = torch.arange(len(entries), dtype=torch.int32)
    features = torch.randn(6, len(entries), generator=generator, dtype=torch.float64).T
    weights = torch.rand(n, slots, generator=generator, dtype=torch.float64) if weighted else None
    return features, places.reshape(n, slots), entries.int(), weights


def _float(tensor: Tensor | None, device: torch.device | str = "cpu") -> Tensor | None:
    return None if tensor is None else tensor.float().to(device).requires_grad_()


def _compare(n: int, slots: int, weighted: bool, device: torch.device | str) -> None:
    features, places, order, weights = _case(n, slots, weighted)
    upstream = torch.randn(n, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    exact = [t.clone().requires_grad_() for t in (features, weights) if t is not None]
    expected = reference.forward(exact[0], places, exact[1] if weighted else None)
    wanted = torch.autograd.grad(expected, exact, upstream, create_graph=True)
    ours = [t for t in (_float(features, device), _float(weights, device)) if t is not None]
    got = cell_blend(ours[0], places.to(device), order.to(device), ours[1] if weighted else None)
    torch.testing.assert_close(got.double().cpu(), expected, atol=2e-6, rtol=1e-5)
    grads = torch.autograd.grad(got, ours, upstream.float().to(device), create_graph=True)
    for a, b in zip(grads, wanted, strict=True):
        torch.testing.assert_close(a.double().cpu(), b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("slots", [1, 2, 4, 8])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [2, 37])
def test_matches_plain_torch(slots: int, weighted: bool, n: int, isa: str) -> None:
    _compare(n, slots, weighted, "cpu")


@pytest.mark.parametrize(("slots", "weighted"), [(1, False), (4, True)])
def test_the_cuda_path_gives_the_same(slots: int, weighted: bool, cuda_device: torch.device) -> None:
    _compare(45, slots, weighted, cuda_device)


def test_second_derivatives_in_all_three() -> None:
    """The gradient's gradient with respect to features, weights and the upstream gradient."""
    features, places, order, weights = _case(20, 4, True)
    generator = torch.Generator().manual_seed(9)
    upstream = torch.randn(20, 6, generator=generator, dtype=torch.float64)
    along = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in (features, weights)]
    results = []
    for exact in (True, False):
        leaves = [t.clone().to(torch.float64 if exact else torch.float32) for t in (features, weights, upstream)]
        x, w, g = (t.requires_grad_() for t in leaves)
        out = reference.forward(x, places, w) if exact else cell_blend(x, places, order, w)
        grads = torch.autograd.grad(out, (x, w), g, create_graph=True)
        total = sum((a * b.to(a.dtype)).sum() for a, b in zip(grads, along, strict=True))
        results.append(torch.autograd.grad(total, (x, w, g)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(b.double(), a, atol=2e-5, rtol=1e-5)
        assert float(a.abs().max()) > 0.1


def test_any_number_of_threads_gives_the_same_bits() -> None:
    features, places, order, weights = _case(20_000, 4, True)

    def run():
        x, w = _float(features), _float(weights)
        out = cell_blend(x, places, order, w)
        return (out, *torch.autograd.grad(out, (x, w), out.detach()))

    same_bits(run)


def test_places_that_do_not_fit_are_refused() -> None:
    features, places, order, _ = _case(20, 2, False)
    with pytest.raises(ValueError, match="each other's inverse"):
        cell_blend(features.float(), places, order.flip(0))
    with pytest.raises(ValueError, match="each other's inverse"):
        cell_blend(features.float(), torch.where(places == 3, 99, places), order)
    with pytest.raises(ValueError, match="1, 2, 4 or 8 columns, got 3"):
        cell_blend(features.float(), torch.zeros(4, 3, dtype=torch.int32), order)
