"""Gaussian scenes for tests of files: made by chance, and compared in the steps of a format."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from neural.morton import morton_order
from neural.scenes.files.gaussians.packing import opacities
from neural.scenes.files.gaussians.record import ARRAYS, SH_COUNTS, SplatRecord
from tests.damage import refused


def made(n: int = 7, degree: int = 3, seed: int = 0, antialiased: bool = False) -> SplatRecord:
    """Gaussians of any shape and colour, with values as trained scenes have them."""
    random = np.random.default_rng(seed)
    shapes = [(n, 3), (n, 4), (n, 3), (n,), (n, 3), (n, SH_COUNTS[degree], 3)]
    spreads = [3.0, 1.0, 1.0, 2.0, 1.0, 0.2]
    arrays = [(random.normal(size=s) * w).astype(np.float32) for s, w in zip(shapes, spreads, strict=True)]
    return SplatRecord(*arrays, antialiased=antialiased)


def assert_same(got: SplatRecord, wanted: SplatRecord) -> None:
    """Equal to the last bit."""
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name), err_msg=name)
    assert got.antialiased == wanted.antialiased


def errors(got: SplatRecord, wanted: SplatRecord) -> dict[str, np.ndarray]:
    """Distances by quantity: opacities after the sigmoid, rotations by components of the nearer sign."""
    distances = {name: np.abs(getattr(got, name) - getattr(wanted, name)) for name in ARRAYS}
    unit = [r.quats / np.linalg.norm(r.quats.astype(np.float64), axis=1, keepdims=True) for r in (got, wanted)]
    sign = np.where((unit[0] * unit[1]).sum(axis=1, keepdims=True) < 0, -1, 1)
    distances["quats"] = np.abs(unit[0] - sign * unit[1])
    distances["opacities"] = np.abs(opacities(got.opacity_logits) - opacities(wanted.opacity_logits))
    return distances


def in_order(record: SplatRecord) -> SplatRecord:
    """The rows in Morton order, as compressed formats keep them."""
    order = morton_order(torch.from_numpy(record.means)).numpy()
    return record.taken(order)


def assert_refused_or_valid(read: Callable[[Path], SplatRecord], path: Path) -> None:
    """No other exception, no warning, and never a record that is not finite."""
    refused(read, path, lambda record: all(np.isfinite(getattr(record, name)).all() for name in ARRAYS))
