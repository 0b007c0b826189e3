"""Encodings of single coordinates, triangle waves and one-blob, with first and second derivatives."""

from jaxtyping import Float
from torch import Tensor

from neural.cuda import checks
from neural.cuda.axis_map import AxisMap
from neural.cuda.reference import axis_encoding as reference

MAX_FREQUENCIES = 60  # 2^(k+1) of the derivative stays finite in fp32 with room for a loss's own factor
MAX_BINS = 1024
_TRIANGLE_WAVE, _ONE_BLOB = 0, 1


def triangle_wave(positions: Float[Tensor, "N D"], n_frequencies: int) -> Float[Tensor, "N K"]:
    """Encodes each coordinate x as 4 |frac(2^(k-1) x + k/4) - 1/2| - 1 for k = 0 .. n_frequencies - 1.

    A cheap form of the frequency encoding: frequencies ascend within a dimension, dimension after dimension; the phase
    of k/4 keeps waves from turning at the same places. Phases are reduced exactly, so high frequencies lose no digits.

    Args:
        positions: Any range; one unit is half a period of the lowest frequency.
        n_frequencies: 1 to 60.

    Returns:
        Features in [-1, 1], float32, K = D n_frequencies, a transposed view of a [K, N] buffer. Differentiable twice
        (the second derivative is zero).

    Raises:
        TypeError, ValueError: A wrong dtype, shape or number of frequencies.

    Source: Mueller et al. 2021, arXiv:2106.12372, section 3.3; phases as in tiny-cuda-nn.
    """
    checks.require("triangle_wave", "positions", positions, ("N", "D"))
    if not 1 <= n_frequencies <= MAX_FREQUENCIES:
        raise ValueError(f"triangle_wave: n_frequencies must be 1 to {MAX_FREQUENCIES}, got {n_frequencies}")
    return _MAP(positions, _TRIANGLE_WAVE, n_frequencies)


def one_blob(positions: Float[Tensor, "N D"], n_bins: int) -> Float[Tensor, "N K"]:
    """Encodes each coordinate by the mass that a kernel about it has in each of n_bins bins of [0, 1].

    The kernel is quartic, 15/16 (1 - u^2)^2 with u in units of its radius 1 / n_bins, and wraps at the box's faces: the
    features of a coordinate in [0, 1] sum to 1. They vanish far outside of it.

    Args:
        positions: Coordinates in [0, 1].
        n_bins: 1 to 1024.

    Returns:
        Features, float32, K = D n_bins, a transposed view of a [K, N] buffer. Differentiable twice.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or number of bins.

    Source: Mueller et al. 2019, arXiv:1808.03856, section 4.3; quartic kernel and wrapping as in tiny-cuda-nn.
    """
    checks.require("one_blob", "positions", positions, ("N", "D"))
    if not 1 <= n_bins <= MAX_BINS:
        raise ValueError(f"one_blob: n_bins must be 1 to {MAX_BINS}, got {n_bins}")
    return _MAP(positions, _ONE_BLOB, n_bins)


_MAP = AxisMap("axis_encoding", ("kind", "n_per_axis"), lambda n, dims, kind, each: (n, dims * each), reference)
