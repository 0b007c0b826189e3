"""Learned hash probing against the straight-through form in plain torch, and by the laws of its codes."""

import pytest
import torch
from torch import Tensor

from neural.cuda import levels as layout
from neural.cuda.gradients import GradientBuffer
from neural.cuda.hash_grid import INTERPOLATIONS, hash_grid
from neural.cuda.lattice_checks import OUTSIDES
from neural.cuda.probed_grid import probed_grid
from neural.cuda.reference import probed_grid as reference
from tests.threads import same_bits

N = 53
SHAPES = [(1, 2, 2), (2, 1, 4), (2, 4, 16), (3, 2, 4), (3, 8, 8), (4, 2, 4)]  # dims, features, probes
Problem = tuple[Tensor, Tensor, Tensor, Tensor]


def _problem(n_dims: int, n_features: int, n_probes: int, *, n_codes: int = 64, n_levels: int = 4) -> Problem:
    """levels (dense ones first, then hashed), table, probabilities, and the codes that they make most likely."""
    base, log2 = {1: (9, 4), 4: (2, 6)}.get(n_dims, (3, 6))
    rows, entries = layout.describe(
        n_dims, n_levels=n_levels, base_resolution=[base] * n_dims, per_level_scale=[1.7] * n_dims,
        log2_hashmap_size=log2,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    table = torch.rand(entries, n_features, generator=generator) * 2 - 1
    n_books = int(rows[0, :, 2].sum())
    assert 0 < n_books < n_levels
    probabilities = torch.randn(n_books, n_codes, n_probes, generator=generator).softmax(-1)
    return rows, table, probabilities, probabilities.argmax(-1).to(torch.uint8)


def _positions(n_dims: int, rows: Tensor, low: float = -0.2, high: float = 1.2) -> Tensor:
    """Points in and around the box, away from cell faces, where fp32 and fp64 could take different cells."""
    x = torch.rand(50 * N, n_dims, generator=torch.Generator().manual_seed(1)) * (high - low) + low
    p = x[:, None].double() * layout.scales(rows)[0].double() + 0.5
    return x[((p - p.round()).abs() > 1e-3).all(-1).all(-1)][:N]


def _normal(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _close(got: Tensor | None, expected: Tensor, atol: float) -> None:
    assert got is not None
    torch.testing.assert_close(got.detach().double().cpu(), expected, atol=atol, rtol=1e-4)


def _check(shape: tuple[int, int, int], interpolation, outside, device: torch.device) -> None:
    """Features, gradients and second derivatives, with a level weight of 0 and one of 1/2."""
    rows, table, probabilities, codes = _problem(*shape)
    x, upstream, direction = _positions(shape[0], rows), _normal(N, 4 * shape[1]), _normal(N, shape[0], seed=3)
    weights = torch.tensor([1.0, 0.5, 1.0, 0.0]) if int(rows[0, 2, 2]) else None
    codes_of = (rows, weights, INTERPOLATIONS.index(interpolation), OUTSIDES.index(outside))
    wide = [v.double() for v in (upstream, x, table, probabilities)]
    expected = reference.backward(*wide, codes, *codes_of)
    second = reference.backward_backward(direction.double(), *wide, codes, *codes_of)
    for order in (lambda t: t.contiguous(), lambda t: t.T.contiguous().T):
        g, xs = (order(v.to(device)).requires_grad_() for v in (upstream, x))
        t, p = (v.clone().to(device).requires_grad_() for v in (table, probabilities))
        options = {"level_weights": weights, "interpolation": interpolation, "outside": outside}
        out = probed_grid(xs, t, p, codes.to(device), rows, **options)
        _close(out, reference.forward(*wide[1:], codes, *codes_of), 4e-6)
        grads = torch.autograd.grad(out, (xs, t, p), g.detach(), retain_graph=True)
        for got, wanted, atol in zip(grads, expected, (2e-3, 2e-5, 2e-5), strict=True):
            _close(got, wanted, atol)
        (first,) = torch.autograd.grad(out, xs, g, create_graph=True)
        grads = torch.autograd.grad((first * direction.to(device)).sum(), (g, xs, t, p))
        for got, wanted in zip(grads, second, strict=True):
            _close(got, wanted, 1e-3 + 1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("interpolation", "outside"), [("linear", "clamp"), ("smoothstep", "zero"), ("nearest", "wrap")]
)
def test_features_and_gradients_match_the_straight_through_form(shape, interpolation, outside, isa: str) -> None:
    _check(shape, interpolation, outside, torch.device("cpu"))


@pytest.mark.parametrize(
    ("shape", "interpolation", "outside"),
    [((2, 2, 4), "linear", "clamp"), ((3, 4, 8), "smoothstep", "zero"), ((1, 1, 2), "nearest", "wrap")],
)
def test_the_cuda_path_does_too(shape, interpolation, outside, cuda_device: torch.device) -> None:
    _check(shape, interpolation, outside, cuda_device)


def test_gradients_are_those_of_a_softmax_over_the_block(isa: str) -> None:
    """Through the logits: written out for one point and one level, against autograd of softmax(logits) @ block."""
    rows, table, _, _ = _problem(2, 2, 4, n_levels=4)
    logits = _normal(int(rows[0, :, 2].sum()), 64, 4).requires_grad_()
    codes = logits.detach().argmax(-1).to(torch.uint8)
    x, t = _positions(2, rows, 0.0, 1.0)[:1], table.clone().requires_grad_()
    probed_grid(x, t, logits.softmax(-1), codes, rows)[:, -2:].sum().backward()
    offset, size = rows[0, -1, :2].tolist()
    p = (x * layout.scales(rows)[0, -1] + 0.5)[0]
    leaf, book = table.clone().requires_grad_(), logits.detach().clone().requires_grad_()
    total = torch.zeros(())
    for a in (0, 1):
        for b in (0, 1):
            i, j = int(p[0]) + a, int(p[1]) + b
            block = ((i ^ (j * 2654435761)) & 0xFFFFFFFF) % (size // 4) * 4 + offset
            place = (((i * 2246822519) ^ (j * 3266489917)) & 0xFFFFFFFF) >> 26
            weight = (p[0] % 1 if a else 1 - p[0] % 1) * (p[1] % 1 if b else 1 - p[1] % 1)
            total = total + weight * (book[-1, place].softmax(-1) @ leaf[block : block + 4]).sum()
    total.backward()
    torch.testing.assert_close(t.grad, leaf.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(logits.grad, book.grad, atol=1e-5, rtol=1e-4)
    assert (t.grad[offset:] != 0).any(1).sum() >= 4


def test_codes_of_zero_are_a_hash_grid_with_sparser_entries(isa: str) -> None:
    """Every block's first entry alone: a plain grid of size / P entries, as its hash is taken modulo that."""
    rows, table, probabilities, codes = _problem(3, 2, 4)
    plain, compact = rows.clone(), []
    for level, row in enumerate(rows[0].tolist()):
        entries = table[row[0] : row[0] + row[1]]
        plain[0, level, 0] = sum(map(len, compact))
        compact.append(entries[::4] if row[2] else entries)
        plain[0, level, 1] = len(compact[-1])
    x = _positions(3, rows)
    expected = hash_grid(x, torch.cat(compact), plain)
    torch.testing.assert_close(probed_grid(x, table, probabilities, codes * 0, rows), expected)


def test_vertices_that_meet_under_the_first_hash_part_under_the_second() -> None:
    """Pairs of vertices in one block, among 64 x 64: they share a code about as rarely as chance has it."""
    axis = torch.arange(64)
    vertices = torch.cartesian_prod(axis, axis)
    block = reference._xor(vertices, reference.PRIMES, 0) % 16
    place = reference._xor(vertices, reference.CODE_PRIMES, 0) * 256 >> 32
    together = (block[:, None] == block) & ~torch.eye(len(vertices), dtype=torch.bool)
    share = float((place[:, None] == place)[together].double().mean())
    assert share < 2 / 256


def test_the_buffer_takes_the_gradient_and_its_marks(isa: str) -> None:
    rows, table, probabilities, codes = _problem(3, 2, 16)
    x, upstream = _positions(3, rows), _normal(N, 8)
    leaf = table.clone().requires_grad_()
    buffer = GradientBuffer.like(leaf)
    probed_grid(x, leaf, probabilities, codes, rows, accumulate=buffer).backward(upstream)
    assert leaf.grad is None
    probed_grid(x, leaf, probabilities, codes, rows).backward(upstream)
    torch.testing.assert_close(buffer.grad, leaf.grad)
    marked = torch.stack([(buffer.touched >> b) & 1 for b in range(64)], 1).flatten().bool()
    assert not (leaf.grad != 0).any(1)[~marked.repeat_interleave(64)[: len(table)]].any()


def test_the_number_of_threads_changes_no_bit() -> None:
    rows, table, probabilities, codes = _problem(3, 2, 4)
    x, upstream = torch.rand(30_000, 3, generator=torch.Generator().manual_seed(0)), _normal(30_000, 8)

    def run():
        leaves = [v.clone().requires_grad_() for v in (x, table, probabilities)]
        out = probed_grid(*leaves, codes, rows)
        out.backward(upstream)
        return [out.detach(), *(v.grad for v in leaves)]

    same_bits(run)


def test_wrong_arguments_say_what_to_do() -> None:
    rows, table, probabilities, codes = _problem(3, 2, 4)
    x = _positions(3, rows)
    for change, message in (
        ({"codes": codes[:1], "probabilities": probabilities[:1]}, r"codebook for each hashed level.* got 1 codebooks"),
        ({"probabilities": probabilities[..., :3].contiguous()}, "2, 4, 8 or 16 columns"),
        ({"codes": codes[:, :40].contiguous(), "probabilities": probabilities[:, :40].contiguous()}, "a power of two"),
        ({"codes": codes.T.contiguous().T}, "codes must be contiguous"),
        ({"positions": torch.zeros(5, 5), "levels": _problem(4, 2, 4)[0]}, r"levels must be \[T, L, 19\]"),
        ({"interpolation": "cubic"}, "interpolation must be one of"),
    ):
        arguments = {"positions": x, "table": table, "probabilities": probabilities, "codes": codes, "levels": rows}
        with pytest.raises(ValueError, match=message):
            probed_grid(**(arguments | change))
