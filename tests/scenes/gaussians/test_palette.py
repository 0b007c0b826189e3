"""Codebooks and palettes: never worse than the textbook method at equal size, exact where there is little to say."""

import numpy as np
import pytest
import torch

from neural.scenes.files.gaussians.sog.codebook import codebook, nearest
from neural.scenes.files.gaussians.sog.palette import palette


@pytest.mark.parametrize("kind", ["normal", "laplace", "uniform"])
def test_a_codebook_is_as_good_as_theory_says(kind: str) -> None:
    """Panter and Dite: the best mean squared error is about (integral of p^(1/3))^3 / (12 n^2)."""
    random = np.random.default_rng(0)
    values = getattr(random, kind)(size=(50_000, 3)).astype(np.float32)
    best = {"normal": np.pi * np.sqrt(3) / 2, "laplace": 9.0, "uniform": 1 / 12}[kind] / 256**2
    entries = codebook(values)
    assert (np.diff(entries) >= 0).all() and entries.shape == (256,)
    found = ((entries[nearest(entries, values)] - values) ** 2).mean()
    assert found < 1.1 * best
    some = values[:1000]
    assert (np.abs(entries[nearest(entries, some)] - some) <= np.abs(some[..., None] - entries).min(-1)).all()


def test_a_codebook_of_few_values_is_exact() -> None:
    values = np.array([3.0, -1, 3, 0.25, 7], np.float32)
    entries = codebook(values)
    np.testing.assert_array_equal(entries[nearest(entries, values)], values)
    same = codebook(np.full(9, 2.5, np.float32))
    np.testing.assert_array_equal(same, np.full(256, 2.5))


def test_a_codebook_reaches_outliers() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(size=10_000), [1000.0, -1000.0]]).astype(np.float32)
    entries = codebook(values)
    assert np.abs(entries[nearest(entries, values)] - values).max() < 2


def _vectors(n: int, dims: int) -> np.ndarray:
    """Smooth colours with noise on them, many of them dull, as those of trained scenes."""
    random = np.random.default_rng(0)
    lively = random.random((n, 1)) ** 4
    return (lively * random.normal(size=(n, 6)) @ random.normal(size=(6, dims))).astype(np.float32)


def _by_lloyd(vectors: np.ndarray, k: int, rounds: int) -> float:
    """The squared error of plain k-means."""
    points = torch.from_numpy(vectors)
    means = points[torch.randperm(len(points), generator=torch.Generator().manual_seed(1))[:k]].clone()
    for _ in range(rounds):
        labels = torch.cdist(points, means).argmin(1)
        counts = torch.bincount(labels, minlength=k).clamp_min(1)[:, None]
        means = torch.zeros_like(means).index_add_(0, labels, points) / counts
    return float(torch.cdist(points, means).amin(1).square().sum())


@pytest.mark.parametrize(("n", "k", "dims"), [(6000, 512, 45), (3000, 2048, 24), (2000, 16, 9)])
def test_a_palette_is_as_good_as_plain_k_means(n: int, k: int, dims: int) -> None:
    vectors = _vectors(n, dims)
    entries, labels = palette(vectors, k)
    assert entries.shape == (k, dims) and labels.shape == (n,) and labels.min() >= 0 and labels.max() < k
    assert ((entries[labels] - vectors) ** 2).sum() <= 1.05 * _by_lloyd(vectors, k, 10)


@pytest.mark.parametrize("n", [1, 2, 64, 300])
def test_as_many_entries_as_vectors_are_exact(n: int) -> None:
    vectors = _vectors(n, 9)
    entries, labels = palette(vectors, n)
    np.testing.assert_allclose(entries[labels], vectors, atol=1e-6)


@pytest.mark.parametrize("distinct", [1, 200, 256])
def test_vectors_that_repeat_keep_their_values(distinct: int) -> None:
    vectors = _vectors(500, 12)[np.arange(500) % distinct]
    entries, labels = palette(vectors, 256)
    assert entries.shape == (256, 12)
    np.testing.assert_array_equal(entries[labels], vectors)


def test_groups_of_one_place() -> None:
    """Most vectors are equal, and there are more distinct ones than entries."""
    vectors = np.concatenate([np.zeros((900, 9), np.float32), _vectors(300, 9)])
    entries, labels = palette(vectors, 256)
    np.testing.assert_allclose(entries[labels[:900]], 0, atol=1e-4)


def test_a_palette_depends_on_its_seed_only() -> None:
    vectors = _vectors(1000, 24)
    for a, b in zip(palette(vectors, 128, seed=3), palette(vectors, 128, seed=3), strict=True):
        np.testing.assert_array_equal(a, b)
