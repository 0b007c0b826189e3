"""Random numbers of a training: functions of seed, step and purpose, so that a resumed run draws the same."""

import torch

_STREAM = 0x9E3779B97F4A7C15  # odd constant that keeps neighbouring (seed, step) pairs apart (golden ratio)


def step_generator(seed: int, step: int, stream: int = 0) -> torch.Generator:
    """A CPU generator whose state depends on seed, step and stream only: a resumed run draws the same numbers."""
    key = (seed * _STREAM + step * 0xBF58476D1CE4E5B9 + stream * 0x94D049BB133111EB) & (2**64 - 1)
    key = ((key ^ (key >> 31)) * 0xD6E8FEB86659FD93) & (2**64 - 1)
    return torch.Generator().manual_seed((key ^ (key >> 32)) & (2**63 - 1))
