"""Frequency (positional) encoding: sines and cosines at doubling frequencies, with first and second derivatives."""

from jaxtyping import Float
from torch import Tensor

from neural.cuda import checks
from neural.cuda.axis_map import AxisMap
from neural.cuda.reference import frequency as reference

MAX_FREQUENCIES = 60  # (2^k pi)^2 of the second derivative stays finite in fp32


def frequency(positions: Float[Tensor, "N D"], n_frequencies: int) -> Float[Tensor, "N K"]:
    """Encodes each coordinate x as sin(2^k pi x), cos(2^k pi x) for k = 0 .. n_frequencies - 1.

    Features are interleaved (sine, cosine) per frequency, frequencies ascend within a dimension, dimension after
    dimension: tiny-cuda-nn's order. The angle is reduced exactly, so high frequencies lose no digits.

    Args:
        positions: Any range; one unit is half a period of the lowest frequency.
        n_frequencies: 1 to 60.

    Returns:
        Features, float32, K = 2 D n_frequencies, a transposed view of a [K, N] buffer. Differentiable twice with
        respect to `positions`.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or number of frequencies.

    Source: Mildenhall et al. 2020, arXiv:2003.08934, eq. 4.
    """
    checks.require("frequency", "positions", positions, ("N", "D"))
    if not 1 <= n_frequencies <= MAX_FREQUENCIES:
        raise ValueError(f"frequency: n_frequencies must be 1 to {MAX_FREQUENCIES}, got {n_frequencies}")
    return _MAP(positions, n_frequencies)


_MAP = AxisMap("frequency", ("n_frequencies",), lambda n, dims, frequencies: (n, 2 * dims * frequencies), reference)
