"""Real spherical harmonics under a rotation: each degree keeps to itself."""

import numpy as np
import torch
from jaxtyping import Float32, Float64

from neural.cuda.reference import spherical_harmonics

_DIRECTIONS = 200  # to fit the seven numbers of a degree to; any more are the same to rounding


def turned(shN: Float32[np.ndarray, "N K 3"], rotation: Float64[np.ndarray, "3 3"]) -> Float32[np.ndarray, "N K 3"]:
    """Coefficients above degree 0 whose sum at R d is what that of the old ones is at d.

    Args:
        shN: In the old frame, K = 0, 3, 8 or 15.
        rotation: R, from the old frame to the new one.
    """
    if not shN.shape[1]:
        return shN
    generator = torch.Generator().manual_seed(0)
    old = torch.nn.functional.normalize(torch.randn(_DIRECTIONS, 3, generator=generator, dtype=torch.float64), dim=1)
    degree = int((shN.shape[1] + 1) ** 0.5) - 1
    before = spherical_harmonics.forward(old, degree + 1)
    after = spherical_harmonics.forward(old @ torch.from_numpy(rotation.T.copy()), degree + 1)
    result = np.empty_like(shN)
    for band in range(1, degree + 1):
        own = slice(band * band, (band + 1) ** 2)
        turn = torch.linalg.lstsq(after[:, own], before[:, own]).solution.numpy().astype(np.float32)
        part = slice(own.start - 1, own.stop - 1)
        result[:, part] = np.matmul(turn, shN[:, part])
    return result
