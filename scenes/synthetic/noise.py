"""Random numbers that depend on what they are for, never on the order in which they are drawn.

Two kinds: a NumPy generator per (seed, purpose, indices) to lay things out, and an integer hash of position
to paint surfaces. The same block or the same wall is therefore the same whatever else the city holds.
"""

import numpy as np
from jaxtyping import Float, Int, UInt32

_MULTIPLIERS = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1)


def generator(seed: int, purpose: int, *indices: int) -> np.random.Generator:
    """A Philox generator keyed by (seed, purpose, indices); indices may be negative."""
    key = [seed, purpose, *(zigzag(index) for index in indices)]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def zigzag(index: int) -> int:
    """Integers to natural numbers: 0, -1, 1, -2, 2 ... -> 0, 1, 2, 3, 4 ..."""
    return 2 * index if index >= 0 else -2 * index - 1


def hash_u32(seed: UInt32[np.ndarray, "N"], *keys: Int[np.ndarray, "N"]) -> UInt32[np.ndarray, "N"]:
    """Mix up to five integer keys into a 32-bit hash (xor-multiply rounds, murmur-style finish)."""
    h = np.asarray(seed, dtype=np.uint32).copy()
    for key, multiplier in zip(keys, _MULTIPLIERS, strict=False):
        h ^= key.astype(np.uint32) * np.uint32(multiplier)
        h ^= h >> np.uint32(15)
        h *= np.uint32(0x2C1B3C6D)
    h ^= h >> np.uint32(12)
    h *= np.uint32(0x297A2D39)
    h ^= h >> np.uint32(15)
    return h


def hash_unit(seed: UInt32[np.ndarray, "N"], *keys: Int[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """The hash as float32 in [0, 1)."""
    return (hash_u32(seed, *keys) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def value_noise(points: Float[np.ndarray, "N D"], seed: UInt32[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """Smooth noise in [0, 1) with one random value per unit cell corner (D = 2 or 3)."""
    floor = np.floor(points)
    fraction = (points - floor).astype(np.float32)
    weight = fraction * fraction * (3.0 - 2.0 * fraction)
    corner = floor.astype(np.int64)
    dims = points.shape[1]
    total = np.zeros(len(points), dtype=np.float32)
    for bits in range(2**dims):
        offset = [(bits >> axis) & 1 for axis in range(dims)]
        share = np.ones(len(points), dtype=np.float32)
        for axis, one in enumerate(offset):
            share *= weight[:, axis] if one else 1.0 - weight[:, axis]
        total += share * hash_unit(seed, *(corner[:, axis] + one for axis, one in enumerate(offset)))
    return total
