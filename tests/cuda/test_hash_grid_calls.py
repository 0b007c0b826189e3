"""The hash grid as it is called: weights of levels, working copies, wrong arguments."""

import pytest
import torch

from neural.cuda.gradients import GradientBuffer
from neural.cuda.hash_grid import hash_grid
from neural.cuda.reference import hash_grid as reference
from tests.hash_grids import TOLERANCE, clear_positions, small_levels


def test_level_weights_scale_and_skip(isa: str) -> None:
    rows, table = small_levels(3, 2)
    x = clear_positions(30, 3, rows)
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
    rows, table = small_levels(3, n_features)
    x = clear_positions(33, 3, rows)
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
    rows, table = small_levels(3, 2)
    arguments = {"positions": torch.zeros(5, 3), "table": table, "levels": rows} | change
    with pytest.raises(error, match=message):
        hash_grid(**arguments)
