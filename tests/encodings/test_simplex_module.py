"""Simplex encodings as modules: what their arguments build, and that they are trained like the hash grid."""

import copy
import pickle

import pytest
import torch

import neural
from neural import memory
from neural.cuda import levels as layout
from neural.cuda.gradients import GradientBuffer
from neural.encodings.hash_grid import INIT_RANGE, HashGrid
from neural.encodings.simplex import Permutohedral, Simplex
from neural.errors import TooLarge

KINDS = {"skewed": Simplex, "kuhn": lambda *a, **k: Simplex(*a, lattice="kuhn", **k), "permutohedral": Permutohedral}


def small(kind: str = "skewed", **options: object) -> Simplex | Permutohedral:
    return KINDS[kind](3, **{"n_levels": 4, "log2_hashmap_size": 10, "base_resolution": 4, **options})


def points(n: int = 60, n_dims: int = 3) -> torch.Tensor:
    return torch.rand(n, n_dims, generator=torch.Generator().manual_seed(4))


def test_they_are_reached_by_their_names() -> None:
    assert neural.Simplex is Simplex
    assert neural.Permutohedral is Permutohedral


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_dims", [1, 2, 3, 4, 7])
def test_features_of_every_dimension(kind: str, n_dims: int) -> None:
    encoding = KINDS[kind](n_dims, n_levels=3, n_features_per_level=4, log2_hashmap_size=8, base_resolution=2)
    assert encoding(points(9, n_dims)).shape == (9, encoding.n_output_dims) == (9, 12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_level_is_as_fine_as_the_hash_grids(kind: str) -> None:
    """Growth and edges follow the hash grid's arguments."""
    grid = HashGrid(3, n_levels=4, log2_hashmap_size=10, base_resolution=4, finest_resolution=32)
    ratio = layout.scales(small(kind, finest_resolution=32).levels) / layout.scales(grid.levels)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))


def test_no_level_is_larger_than_asked() -> None:
    for kind in KINDS:
        assert (small(kind).levels[..., 1] <= 1024).all()


def test_the_permutohedral_shifts_come_from_the_seed() -> None:
    shifts = [small("permutohedral", seed=seed).levels[0, :, -3:] for seed in (1, 1, 2)]
    assert torch.equal(shifts[0], shifts[1])
    assert (shifts[0] != shifts[2]).any(1).all()
    assert len(shifts[0].unique(dim=0)) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_makes_the_values_small_and_uniform(kind: str) -> None:
    one, same, other = (small(kind, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.table, same.table)
    assert not torch.equal(one.table, other.table)
    values = one.table.detach() / INIT_RANGE
    assert float(values.abs().max()) <= 1
    assert float(values.var()) == pytest.approx(1 / 3, rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_they_learn_a_function(kind: str) -> None:
    """A few steps of Adam take most of the error away: gradients have the right sign and place."""
    encoding = small(kind, n_features_per_level=1, log2_hashmap_size=12)
    x = points(2000)
    target = (6 * x[:, 0]).sin() * x[:, 1] + x[:, 2]
    optimiser = torch.optim.Adam(encoding.parameters(), lr=0.03)
    losses = []
    for _ in range(60):
        loss = (encoding(x).sum(1) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]


@pytest.mark.parametrize("n_levels", [0, 2, 4])
def test_levels_beyond_the_highest_give_zeros(n_levels: int) -> None:
    encoding = small()
    full = encoding(points()).detach()
    encoding.set_max_level(n_levels)
    features = encoding(points())
    assert torch.equal(features[:, : 2 * n_levels], full[:, : 2 * n_levels])
    assert not features[:, 2 * n_levels :].any()


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_the_working_copy_follows_the_table(precision: str) -> None:
    encoding = small(precision=precision)
    with torch.no_grad():
        encoding.table.mul_(3000)
    expected = small()
    with torch.no_grad():
        expected.table.copy_(encoding.table.to(getattr(torch, precision)).float())
    torch.testing.assert_close(encoding(points()), expected(points()))


def test_a_buffer_takes_the_gradient() -> None:
    encoding, plain = small(), small()
    encoding.gradients = GradientBuffer.like(encoding.table)
    encoding(points()).square().sum().backward()
    plain(points()).square().sum().backward()
    assert encoding.table.grad is None
    torch.testing.assert_close(encoding.gradients.grad, plain.table.grad)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_saved_states_give_equal_features(kind: str) -> None:
    encoding, other = small(kind, seed=1, precision="float16"), small(kind, seed=1, precision="float16")
    with torch.no_grad():
        encoding.table.mul_(10)
    expected = encoding(points())
    for same in (copy.deepcopy(encoding), pickle.loads(pickle.dumps(encoding))):
        assert torch.equal(same(points()), expected)
    other.load_state_dict(encoding.state_dict())
    assert torch.equal(other(points()), expected)


def test_sub_tables_serve_their_segments() -> None:
    encoding = small(n_tables=2)
    features = encoding(points(30), torch.tensor([0, 12, 30]))
    swapped = encoding(points(30), torch.tensor([0, 0, 30]))
    assert torch.equal(features[12:], swapped[12:])
    assert not torch.equal(features[:12], swapped[:12])


def test_it_says_what_it_is() -> None:
    text = repr(small())
    for part in ("3, levels=4, features=2", f"{small().table.numel()} parameters, skewed"):
        assert part in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"finest_resolution": 64, "per_level_scale": 2.0}, "not both"),
        ({"n_features_per_level": 3}, "1, 2, 4 or 8"),
        ({"base_resolution": (4, 4)}, "3 values"),
        ({"n_levels": 0}, "n_levels must be 1 to 64"),
        ({"lattice": "permutohedral"}, "neural.Permutohedral"),
        ({"precision": "float8"}, "precision must be one of"),
    ],
)
def test_what_cannot_be_built_is_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize("make", [HashGrid, Simplex, Permutohedral])
def test_a_table_beyond_memory_is_refused_before_it_is_made(make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 1_000_000)
    made = torch.rand
    monkeypatch.setattr(torch, "rand", lambda *size, **k: made(*size, **k) if len(size) == 1 else pytest.fail("taken"))
    with pytest.raises(TooLarge, match=r"table of [\d,]+ values needs [\d.]+ GB.*smaller log2_hashmap_size"):
        make(2, n_levels=6, log2_hashmap_size=16)
