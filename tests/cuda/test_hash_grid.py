"""The hash grid against the plain-torch reference, Dr.Jit's independent indexing, and its own laws."""

import math

import pytest
import torch
from torch import Tensor

from neural.cuda import levels as layout
from neural.cuda.gradients import GradientBuffer
from neural.cuda.hash_grid import INTERPOLATIONS, OUTSIDES, hash_grid
from neural.cuda.reference import hash_grid as reference

TOLERANCE = {"value": 2e-6, "table": 2e-5, "positions": 2e-3}


def _grid(
    n_dims: int, n_features: int, kind: str = "hash", *, n_levels: int = 4, base: int = 3, scale: float = 1.7,
    log2: int = 9, n_tables: int = 1, seed: int = 0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Small descriptors (dense and hashed levels mixed) and a random table."""
    rows, entries = layout.describe(
        n_dims, n_levels=n_levels, base_resolution=[base] * n_dims, per_level_scale=[scale] * n_dims,
        log2_hashmap_size=log2, kind=kind, n_tables=n_tables,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    return rows, torch.rand(entries, n_features, generator=generator) * 2 - 1


def _positions(n: int, n_dims: int, rows: Tensor, seed: int = 1, margin: float = 1e-3, low=0.0, high=1.0) -> Tensor:
    """Random points at least `margin` of a cell from every cell face, so that fp32 and fp64 agree on the cell."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.empty(0, n_dims)
    scales = layout.scales(rows)[0].double()
    while len(points) < n:
        x = torch.rand(4 * n, n_dims, generator=generator) * (high - low) + low
        p = x[:, None].double().clamp(low, high) * scales + 0.5
        far = ((p - p.round()).abs() > margin).all(-1).all(-1)
        points = torch.cat([points, x[far]])
    return points[:n].contiguous()


def _indices(interpolation: str, outside: str) -> tuple[int, int]:
    return INTERPOLATIONS.index(interpolation), OUTSIDES.index(outside)


@pytest.mark.parametrize("kind", ["hash", "dense", "tiled"])
@pytest.mark.parametrize(("n_dims", "n_features"), [(1, 2), (2, 1), (2, 4), (3, 2), (3, 8), (4, 2), (5, 1), (7, 2)])
def test_features_and_gradients_match_the_reference(kind: str, n_dims: int, n_features: int, isa: str) -> None:
    rows, table = _grid(n_dims, n_features, kind, n_levels=3 if n_dims > 4 else 4, base=2 if n_dims > 4 else 3)
    x = _positions(53, n_dims, rows)
    upstream = torch.randn(53, rows.shape[1] * n_features, generator=torch.Generator().manual_seed(2))
    for interpolation in INTERPOLATIONS:
        codes = _indices(interpolation, "clamp")
        leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
        out = hash_grid(leaf, weights, rows, interpolation=interpolation)
        expected = reference.forward(x.double(), table.double(), rows, None, None, *codes)
        torch.testing.assert_close(out.double(), expected, atol=TOLERANCE["value"], rtol=0)
        out.backward(upstream)
        gx, gt = reference.backward(upstream.double(), x.double(), table.double(), rows, None, None, *codes)
        torch.testing.assert_close(weights.grad.double(), gt, atol=TOLERANCE["table"], rtol=1e-5)
        torch.testing.assert_close(leaf.grad.double(), gx, atol=TOLERANCE["positions"], rtol=1e-4)


@pytest.mark.parametrize("interpolation", ["linear", "smoothstep"])
@pytest.mark.parametrize(("n_dims", "n_features"), [(1, 1), (2, 2), (3, 2), (3, 4), (4, 2), (6, 2)])
def test_second_order_gradients_match_the_reference(interpolation: str, n_dims: int, n_features: int, isa: str) -> None:
    rows, table = _grid(n_dims, n_features, n_levels=3, base=2)
    x = _positions(21, n_dims, rows)
    generator = torch.Generator().manual_seed(3)
    upstream = torch.randn(21, rows.shape[1] * n_features, generator=generator)
    direction = torch.randn(21, n_dims, generator=generator)
    leaves = [v.clone().requires_grad_() for v in (upstream, x, table)]
    out = hash_grid(leaves[1], leaves[2], rows, interpolation=interpolation)
    (gx,) = torch.autograd.grad(out, leaves[1], leaves[0], create_graph=True)
    got = torch.autograd.grad((gx * direction).sum(), leaves, allow_unused=True)
    expected = reference.backward_backward(
        direction.double(), upstream.double(), x.double(), table.double(), rows, None, None,
        *_indices(interpolation, "clamp"),
    )  # fmt: skip
    for name, a, b in zip(("grad", "positions", "table"), got, expected, strict=True):
        torch.testing.assert_close(
            a.double(), b, atol=TOLERANCE["positions"], rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_table_gradient_is_differentiable_too(isa: str) -> None:
    rows, table = _grid(3, 2)
    x = _positions(19, 3, rows)
    generator = torch.Generator().manual_seed(4)
    upstream = torch.randn(19, rows.shape[1] * 2, generator=generator)
    along = torch.randn(table.shape, generator=generator)

    def second(dtype: torch.dtype, function) -> list[Tensor]:
        g, p, t = (v.clone().to(dtype).requires_grad_() for v in (upstream, x, table))
        (gt,) = torch.autograd.grad(function(p, t), t, g, create_graph=True)
        return list(torch.autograd.grad((gt * along.to(dtype)).sum(), (g, p)))

    got = second(torch.float32, lambda p, t: hash_grid(p, t, rows))
    expected = second(torch.float64, lambda p, t: reference.forward(p, t, rows, None, None, 1, 1))
    torch.testing.assert_close(got[0].double(), expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got[1].double(), expected[1], atol=TOLERANCE["positions"], rtol=1e-4)


@pytest.mark.parametrize("outside", OUTSIDES)
@pytest.mark.parametrize("kind", ["hash", "dense", "tiled"])
def test_positions_outside_the_box(outside: str, kind: str, isa: str) -> None:
    rows, table = _grid(2, 2, kind)
    x = _positions(200, 2, rows, low=-1.5, high=2.5)
    codes = _indices("linear", outside)
    leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
    out = hash_grid(leaf, weights, rows, outside=outside)
    torch.testing.assert_close(
        out.double(), reference.forward(x.double(), table.double(), rows, None, None, *codes), atol=4e-6, rtol=0
    )
    out.sum().backward()
    gx, gt = reference.backward(torch.ones_like(out).double(), x.double(), table.double(), rows, None, None, *codes)
    torch.testing.assert_close(leaf.grad.double(), gx, atol=TOLERANCE["positions"], rtol=1e-4)
    torch.testing.assert_close(weights.grad.double(), gt, atol=1e-4, rtol=1e-5)


def test_resolution_may_differ_by_axis(isa: str) -> None:
    rows, entries = layout.describe(
        3, n_levels=3, base_resolution=[3, 5, 2], per_level_scale=[1.5, 2.0, 1.1], log2_hashmap_size=8
    )
    table = torch.rand(entries, 2, generator=torch.Generator().manual_seed(0))
    x = _positions(40, 3, rows)
    expected = reference.forward(x.double(), table.double(), rows, None, None, 1, 1)
    torch.testing.assert_close(hash_grid(x, table, rows).double(), expected, atol=2e-6, rtol=0)


def test_segments_choose_the_sub_table(isa: str) -> None:
    rows, table = _grid(3, 2, n_tables=3)
    x = _positions(60, 3, rows)
    segments = torch.tensor([0, 17, 17, 60])
    weights = table.clone().requires_grad_()
    out = hash_grid(x, weights, rows, segments=segments)
    expected = torch.cat([hash_grid(x[:17], table, rows[:1]), hash_grid(x[17:], table, rows[2:])])
    assert torch.equal(out, expected)
    out.sum().backward()
    per_table = weights.grad.reshape(3, -1).abs().sum(1)
    assert per_table[1] == 0
    assert (per_table[[0, 2]] > 0).all()


def test_level_weights_scale_and_skip(isa: str) -> None:
    rows, table = _grid(3, 2)
    x = _positions(30, 3, rows)
    level_weights = torch.tensor([1.0, 0.5, 0.0, 0.25])
    leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
    out = hash_grid(leaf, weights, rows, level_weights=level_weights)
    args = (x.double(), table.double(), rows, None, level_weights, 1, 1)
    torch.testing.assert_close(out.double(), reference.forward(*args), atol=2e-6, rtol=0)
    out.sum().backward()
    gx, gt = reference.backward(torch.ones_like(out).double(), *args)
    torch.testing.assert_close(leaf.grad.double(), gx, atol=TOLERANCE["positions"], rtol=1e-4)
    torch.testing.assert_close(weights.grad.double(), gt, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
@pytest.mark.parametrize("n_features", [1, 2, 8])
def test_reads_a_half_precision_working_copy(dtype: torch.dtype, tolerance: float, n_features: int, isa: str) -> None:
    rows, table = _grid(3, n_features)
    x = _positions(33, 3, rows)
    copy = table.to(dtype)
    leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
    out = hash_grid(leaf, weights, rows, working_copy=copy)
    # exact against the rounded table, close to the table itself
    torch.testing.assert_close(out, hash_grid(x, copy.float(), rows), atol=1e-6, rtol=0)
    torch.testing.assert_close(out, hash_grid(x, table, rows), atol=tolerance, rtol=0)
    out.sum().backward()
    assert weights.grad is not None and weights.grad.dtype == torch.float32
    gx, _ = reference.backward(torch.ones_like(out).double(), x.double(), copy.double(), rows, None, None, 1, 1)
    torch.testing.assert_close(leaf.grad.double(), gx, atol=TOLERANCE["positions"], rtol=1e-4)


def test_either_memory_order_gives_equal_bits(isa: str) -> None:
    rows, table = _grid(3, 2)
    x = _positions(100, 3, rows)
    upstream = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    results = []
    for order in (lambda t: t.contiguous(), lambda t: t.T.contiguous().T):
        leaf, weights = order(x).detach().requires_grad_(), table.clone().requires_grad_()
        out = hash_grid(leaf, weights, rows)
        out.backward(order(upstream))
        results.append((out, leaf.grad, weights.grad))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_any_number_of_threads_gives_equal_bits() -> None:
    rows, table = _grid(3, 2, n_levels=6, log2=12)
    x = _positions(9001, 3, rows, margin=0.0)
    results = []
    before = torch.get_num_threads()
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
            out = hash_grid(leaf, weights, rows)
            (out * out).sum().backward()
            results.append((out.detach(), leaf.grad, weights.grad))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


def test_accumulates_into_a_buffer_and_marks_it(isa: str) -> None:
    rows, table = _grid(3, 2, n_levels=6, log2=12)
    x = _positions(7, 3, rows)
    weights = table.clone().requires_grad_()
    buffer = GradientBuffer.like(table)
    expected = torch.autograd.grad(hash_grid(x, weights, rows).sum(), weights)[0]
    for times in (1, 2):
        hash_grid(x, weights, rows, accumulate=buffer).sum().backward()
        torch.testing.assert_close(buffer.grad, times * expected)
    assert weights.grad is None
    bits = (buffer.touched[:, None] >> torch.arange(64)) & 1
    marked = bits.reshape(-1).bool().repeat_interleave(64)[: len(table)]
    written = expected.abs().sum(1) > 0
    assert not (written & ~marked).any()
    blocks = torch.nn.functional.pad(written, (0, -len(table) % 64)).reshape(-1, 64).any(1)
    assert torch.equal(blocks, bits.reshape(-1).bool()[: len(blocks)])


@pytest.mark.parametrize("n_dims", [2, 3, 4])
def test_indexing_agrees_with_drjit(n_dims: int) -> None:
    """8 features: Dr.Jit rounds a level's size to a multiple of the features, tiny-cuda-nn and we to 8 entries."""
    drjit = pytest.importorskip("drjit")
    from drjit.llvm.ad import ArrayXf, Float32
    from drjit.nn import HashGridEncoding

    n_levels, base, growth, log2 = 6, 4, 1.6, 10
    encoding = HashGridEncoding(
        Float32, n_dims, n_levels=n_levels, n_features_per_level=8, hashmap_size=2**log2, base_resolution=base,
        per_level_scale=growth, torchngp_compat=True,
    )  # fmt: skip
    rows, entries = layout.describe(
        n_dims, n_levels=n_levels, base_resolution=[base] * n_dims, per_level_scale=[growth] * n_dims,
        log2_hashmap_size=log2,
    )  # fmt: skip
    table = torch.rand(entries, 8, generator=torch.Generator().manual_seed(0))
    assert encoding.n_params == table.numel()
    encoding.set_params(Float32(table.reshape(-1).numpy()))
    x = _positions(500, n_dims, rows)
    got = encoding(ArrayXf(x.T.contiguous().numpy()))
    theirs = torch.stack([torch.from_numpy(drjit.detach(column).numpy()) for column in got], -1)
    torch.testing.assert_close(hash_grid(x, table, rows), theirs, atol=2e-5, rtol=0)


def test_features_of_constant_table_are_constant() -> None:
    """The weights of a level's corners add up to one."""
    rows, table = _grid(3, 2)
    x = torch.rand(500, 3, generator=torch.Generator().manual_seed(5))
    for interpolation in INTERPOLATIONS:
        out = hash_grid(x, torch.full_like(table, 0.75), rows, interpolation=interpolation)
        torch.testing.assert_close(out, torch.full_like(out, 0.75))


def _finite_or_nan(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual.double(), expected, atol=atol, rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize("outside", OUTSIDES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_wild_positions_are_defined_in_every_derivative(outside: str, interpolation: str, isa: str) -> None:
    """Huge, infinite and NaN coordinates, alone among tame ones and on every axis, as the reference has them."""
    wild = [math.nan, math.inf, -math.inf, 1e30, -1e30, 1e17, -1e17]
    generator = torch.Generator().manual_seed(6)
    for kind in layout.KINDS:
        rows, table = _grid(3, 2, kind)
        x = _positions(3 * len(wild), 3, rows)
        for i, value in enumerate(wild):
            x[3 * i] = value
            x[3 * i + 1, i % 3] = value
        upstream, direction = torch.randn(len(x), 8, generator=generator), torch.randn(len(x), 3, generator=generator)
        grid = (rows, None, None, *_indices(interpolation, outside))
        wide = [v.double() for v in (upstream, x, table)]
        leaves = [v.clone().requires_grad_() for v in (upstream, x, table)]
        out = hash_grid(leaves[1], leaves[2], rows, interpolation=interpolation, outside=outside)
        _finite_or_nan(out, reference.forward(wide[1], wide[2], *grid), 2e-6)
        got = torch.autograd.grad(out, leaves[1:], leaves[0], create_graph=True)
        for actual, expected in zip(got, reference.backward(*wide, *grid), strict=True):
            _finite_or_nan(actual, expected, 2e-3)
        if outside == "zero":  # nothing beyond the box is felt, not even a NaN
            assert all(bool(g.isfinite().all()) for g in (out, *got))
        if interpolation == "nearest":
            continue
        got = torch.autograd.grad((got[0] * direction).sum(), leaves, allow_unused=True)
        for actual, expected in zip(got, reference.backward_backward(direction.double(), *wide, *grid), strict=True):
            _finite_or_nan(actual, expected, 2e-2)


@pytest.mark.parametrize("mode", ["eager", "aot_eager"])
def test_compiles_without_graph_breaks(mode: str) -> None:
    rows, table = _grid(3, 2)
    x = _positions(20, 3, rows)
    results = []
    for function in (hash_grid, torch.compile(hash_grid, fullgraph=True, backend=mode)):
        leaf, weights = x.clone().requires_grad_(), table.clone().requires_grad_()
        out = function(leaf, weights, rows, interpolation="smoothstep")
        out.square().sum().backward()
        results.append((out.detach(), leaf.grad, weights.grad))
    for eager, compiled in zip(*results, strict=True):
        assert torch.equal(eager, compiled)


def test_empty_batch() -> None:
    rows, table = _grid(3, 2)
    leaf, weights = torch.zeros(0, 3, requires_grad=True), table.clone().requires_grad_()
    out = hash_grid(leaf, weights, rows)
    assert out.shape == (0, 8)
    out.sum().backward()
    assert torch.equal(weights.grad, torch.zeros_like(table))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"positions": torch.zeros(5, 3, dtype=torch.float64)}, TypeError, r"positions must be float32, got float64"),
        ({"positions": torch.zeros(5, 8)}, ValueError, r"1 to 7 columns, got 8"),
        ({"table": torch.zeros(100, 3)}, ValueError, r"1, 2, 4 or 8 features, got 3"),
        ({"table": torch.zeros(2, 2000).T}, ValueError, r"must be contiguous"),
        ({"positions": torch.zeros(5, 2)}, ValueError, r"levels must be \[T, L, 10\]"),
        ({"interpolation": "cubic"}, ValueError, r"one of nearest, linear, smoothstep, got 'cubic'"),
        ({"outside": "mirror"}, ValueError, r"one of wrap, clamp, zero, got 'mirror'"),
        ({"segments": torch.tensor([0, 3])}, ValueError, r"segments must rise from 0 to 5 points, got \[0, 3\]"),
        ({"level_weights": torch.ones(2)}, ValueError, r"level_weights must be \[4\], got \[2\]"),
        ({"working_copy": torch.zeros(1, 2).half()}, ValueError, r"working_copy must be"),
        ({"level_weights": torch.ones(8)[::2]}, ValueError, r"level_weights must be contiguous"),
        (
            {"level_weights": torch.tensor([1, 1, float("inf"), 1])},
            ValueError,
            r"must be finite, got \[1.0, 1.0, inf, 1.0\]",
        ),
        ({"level_weights": torch.tensor([float("nan")] * 4)}, ValueError, r"level_weights must be finite"),
        ({"table": torch.zeros(16, 2)}, ValueError, r"levels describe \d+ entries, the table has 16"),
        ({"levels": torch.zeros(1, 4, 13, dtype=torch.int64)}, ValueError, r"make them with levels.describe"),
        ({"accumulate": GradientBuffer.like(torch.zeros(64, 2))}, ValueError, r"accumulate.grad must be"),
    ],
)
def test_wrong_arguments_say_what_to_do(change: dict, error: type, message: str) -> None:
    rows, table = _grid(3, 2)
    arguments = {"positions": torch.zeros(5, 3), "table": table, "levels": rows} | change
    with pytest.raises(error, match=message):
        hash_grid(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_dims": 8}, "n_dims must be 1 to 7"),
        ({"n_levels": 0}, "n_levels must be 1 to 64"),
        ({"base_resolution": [16, 16]}, "base_resolution must be 3 values"),
        ({"log2_hashmap_size": 31}, "log2_hashmap_size must be 3 to 28"),
        ({"kind": "sparse"}, "kind must be one of hash, dense, tiled"),
        ({"kind": "dense"}, r"below 2\^29"),
    ],
)
def test_wrong_layouts_say_what_to_do(change: dict, message: str) -> None:
    arguments = {
        "n_dims": 3, "n_levels": 16, "base_resolution": [16] * 3, "per_level_scale": [1.5] * 3, "log2_hashmap_size": 19,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        layout.describe(**(arguments | change))


def _row(offset: int, size: int, hashed: bool, key: int = 0, shift: float = 0.5) -> list[int]:
    return layout.row(offset, size, hashed, [9, 9], [8.0, 8.0], shifts=[shift] * 2, key=key)


def test_sub_tables_share_a_level_under_keys_of_their_own(isa: str) -> None:
    """The same point meets other entries under another key; the gradient of shared entries is the sum of both."""
    rows = torch.tensor([[_row(0, 88, False), _row(88, 64, True)], [_row(152, 88, False), _row(88, 64, True, key=37)]])
    table = torch.rand(240, 2, generator=torch.Generator().manual_seed(0))
    x = _positions(20, 2, rows).repeat(2, 1)
    upstream = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    segments = torch.tensor([0, 20, 40])
    weights = table.clone().requires_grad_()
    buffer = GradientBuffer.like(table)
    out = hash_grid(x, weights, rows, segments=segments)
    expected = reference.forward(x.double(), table.double(), rows, segments, None, 1, 1)
    torch.testing.assert_close(out.double(), expected, atol=TOLERANCE["value"], rtol=0)
    assert not torch.isclose(out[:20], out[20:]).any()
    out.backward(upstream)
    _, gt = reference.backward(upstream.double(), x.double(), table.double(), rows, segments, None, 1, 1)
    assert weights.grad is not None
    torch.testing.assert_close(weights.grad.double(), gt, atol=TOLERANCE["table"], rtol=1e-5)
    hash_grid(x, weights, rows, segments=segments, accumulate=buffer).backward(upstream)
    torch.testing.assert_close(buffer.grad, weights.grad)


def test_a_level_can_be_shifted(isa: str) -> None:
    """A shift of 0 puts vertices on the faces of the box, as nerfstudio has them."""
    rows = torch.tensor([[_row(0, 88, False, shift=0.0)]])
    table = torch.rand(88, 2, generator=torch.Generator().manual_seed(0))
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.25]])
    assert torch.equal(hash_grid(corners, table, rows), table[[0, 8, 18]])


@pytest.mark.parametrize(
    "rows",
    [
        [[_row(0, 88, False)], [_row(8, 88, False)]],  # half over each other
        [[_row(0, 64, True)], [_row(0, 128, True)]],  # shared, of two sizes
        [[_row(0, 64, True)], [_row(64, 64, True)], [_row(0, 64, True)]],  # shared by tables apart
        [[_row(0, 64, True), _row(0, 64, True)]],  # two levels in one place
        [[_row(0, 88, False, key=1)]],  # a dense level has no key
        [[_row(0, 88, True)]],  # hashed, no power of two
    ],
)
def test_levels_that_meet_by_mistake_are_refused(rows: list) -> None:
    with pytest.raises(ValueError, match=r"make them with levels.describe"):
        hash_grid(
            torch.zeros(5, 2), torch.zeros(400, 2), torch.tensor(rows), segments=torch.tensor([0] * len(rows) + [5])
        )


def test_parameter_count_is_the_published_one() -> None:
    """instant-ngp's NeRF grid, 16 to 2048 in 16 levels of 2 features, T = 2^19, has 12 196 240 parameters."""
    growth = math.exp(math.log(2048 / 16) / 15)
    _, entries = layout.describe(
        3, n_levels=16, base_resolution=[16] * 3, per_level_scale=[growth] * 3, log2_hashmap_size=19
    )
    assert entries * 2 == 12_196_240
