"""The probed hash grid as a module: codes follow logits, learning beats a plain grid of the same table."""

import copy

import pytest
import torch
from torch import Tensor

import neural
from neural.cuda.gradients import GradientBuffer
from neural.encodings.hash_grid import HashGrid
from neural.encodings.probed_grid import ProbedHashGrid
from neural.optim import Adam, Group

SHAPE = {"n_levels": 6, "base_resolution": 8, "finest_resolution": 96, "log2_hashmap_size": 8}


def probed(**options: object) -> ProbedHashGrid:
    return ProbedHashGrid(2, **{**SHAPE, "n_probes": 4, "log2_codebook_size": 10, **options})  # type: ignore[arg-type]


def points(n: int = 100) -> Tensor:
    return torch.rand(n, 2, generator=torch.Generator().manual_seed(1))


def test_codes_follow_every_write_of_the_logits() -> None:
    grid = probed()
    assert torch.equal(grid.codes.long(), grid.logits.argmax(-1))
    before = grid.codes
    assert grid.codes is before
    with torch.no_grad():
        grid.logits[..., 2] += 10
    assert (grid.codes == 2).all()
    twin = copy.deepcopy(grid)
    with torch.no_grad():
        twin.logits[..., 1] += 30
    assert (twin.codes == 1).all() and (grid.codes == 2).all()
    other = probed(seed=3)
    other(points())
    other.load_state_dict(grid.state_dict())
    assert torch.equal(other(points()), grid(points()))


def test_codes_follow_the_steps_of_our_optimiser() -> None:
    grid = probed()
    optimiser = Adam([Group({"table": grid.table}, 1e-2), Group({"logits": grid.logits}, 1.0)])
    before = grid.codes
    for _ in range(8):
        (grid(points()).sum(1) - points()[:, 0]).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        assert torch.equal(grid.codes.long(), grid.logits.argmax(-1))
    assert not torch.equal(grid.codes, before)


def test_features_need_no_probabilities_where_nothing_is_learned() -> None:
    grid = probed()
    learned = grid(points())
    with torch.no_grad():
        assert torch.equal(grid(points()), learned)
    with torch.inference_mode():
        assert torch.equal(probed()(points()), learned)


def test_both_parameters_get_gradients_and_levels_of_weight_zero_none() -> None:
    grid = probed()
    grid.set_max_level(4)
    grid(points()).square().sum().backward()
    assert grid.table.grad is not None and grid.logits.grad is not None
    first = int(grid.levels[0, 4, 0])
    assert grid.table.grad[:first].any() and not grid.table.grad[first:].any()
    assert grid.logits.grad[:-2].any() and not grid.logits.grad[-2:].any()
    grid.gradients, grid.table.grad = GradientBuffer.like(grid.table), None
    grid(points()).square().sum().backward()
    assert grid.table.grad is None and grid.gradients.grad.any()


def target(n: int) -> Tensor:
    """Like a photograph in what matters here: smooth at large, with a patch of fine detail and an edge."""
    x, y = torch.meshgrid((torch.arange(n) + 0.5) / n, (torch.arange(n) + 0.5) / n, indexing="ij")
    smooth = 0.5 + 0.3 * torch.sin(3 * x + 2 * y)
    noise = torch.rand(n, n, generator=torch.Generator().manual_seed(7)) - 0.5
    patch = ((x - 0.6) ** 2 + (y - 0.4) ** 2 < 0.006).float()
    return smooth + 0.6 * noise * patch + 0.3 * (x + 0.4 * y > 0.9).float()


def fitted(grid: HashGrid, n_steps: int) -> float:
    """PSNR of an image after a number of full passes; the features' sum is the pixel."""
    n = 96
    axis = (torch.arange(n) + 0.5) / n
    x, image = torch.cartesian_prod(axis, axis), target(n).reshape(-1)
    groups = [{"params": [grid.table]}, *([{"params": [grid.logits]}] if isinstance(grid, ProbedHashGrid) else [])]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15)
    for step in range(n_steps):
        for group, rate in zip(optimiser.param_groups, (2e-2, 2e-1), strict=False):
            group["lr"] = rate * 0.01 ** (step / n_steps)
        optimiser.zero_grad()
        (grid(x).sum(1) - image).square().mean().backward()
        optimiser.step()
    with torch.no_grad():
        return float(-10 * (grid(x).sum(1) - image).square().mean().log10())


def test_learned_codes_fit_better_than_a_plain_grid_of_the_same_table_and_one_twice_as_large() -> None:
    plain, large = (HashGrid(2, **{**SHAPE, "log2_hashmap_size": size}) for size in (6, 7))  # type: ignore[arg-type]
    learned = probed(log2_hashmap_size=6, n_probes=8, log2_codebook_size=12)
    assert plain.table.shape == learned.table.shape
    assert large.levels[0, -1, 1] == 2 * learned.levels[0, -1, 1]
    score = fitted(learned, 150)
    assert score > fitted(plain, 150) + 1.5
    assert score > fitted(large, 150)


def test_export_counts_the_bits_of_table_and_codes() -> None:
    grid = probed()
    n_hashed = int(grid.levels[0, :, 2].sum())
    assert grid.export_bits(16) == 16 * grid.table.numel() + n_hashed * 2**10 * 2
    assert probed(n_probes=16).export_bits(8) == 8 * grid.table.numel() + n_hashed * 2**10 * 4


def test_it_is_reached_from_the_package_and_says_what_it_is() -> None:
    assert neural.ProbedHashGrid is ProbedHashGrid
    assert "4 probes by 2^10 codes a level" in repr(probed())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_probes": 3}, "n_probes 2, 4, 8 or 16"),
        ({"log2_codebook_size": 0}, "log2_codebook_size 2 to 24, got 2, 4 and 0"),
        ({"n_probes": 16, "log2_hashmap_size": 3}, r"2\^3 entries are fewer than 16 probes"),
    ],
)
def test_what_cannot_be_built_is_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        probed(**options)
    with pytest.raises(ValueError, match="n_dims must be 1 to 4"):
        ProbedHashGrid(5)
