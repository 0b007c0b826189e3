"""Levels of hash grids: where entries lie, tables shared under keys, shifts, and layouts that are refused."""

import math

import pytest
import torch

from neural.cuda import levels as layout
from neural.cuda.gradients import GradientBuffer
from neural.cuda.hash_grid import hash_grid
from neural.cuda.reference import hash_grid as reference
from tests.hash_grids import TOLERANCE, clear_positions


def test_resolution_may_differ_by_axis(isa: str) -> None:
    rows, entries = layout.describe(
        3, n_levels=3, base_resolution=[3, 5, 2], per_level_scale=[1.5, 2.0, 1.1], log2_hashmap_size=8
    )
    table = torch.rand(entries, 2, generator=torch.Generator().manual_seed(0))
    x = clear_positions(40, 3, rows)
    expected = reference.forward(x.double(), table.double(), rows, None, None, 1, 1)
    torch.testing.assert_close(hash_grid(x, table, rows).double(), expected, atol=2e-6, rtol=0)


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
    x = clear_positions(20, 2, rows).repeat(2, 1)
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
    x = clear_positions(500, n_dims, rows)
    got = encoding(ArrayXf(x.T.contiguous().numpy()))
    theirs = torch.stack([torch.from_numpy(drjit.detach(column).numpy()) for column in got], -1)
    torch.testing.assert_close(hash_grid(x, table, rows), theirs, atol=2e-5, rtol=0)
