"""Which Gaussians each tile of an image draws: exact ellipse-tile test, near to far, in a fixed order."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import checks
from neural.cuda.reference import gaussian_tiles as reference

TILE = 16  # pixels
_MOST_PAIRS = 2**31 - 1  # what an int32 counts
_MOST_PIXELS = 2**20  # on a side


class Tiles(NamedTuple):
    """The Gaussians that each tile of 16x16 pixels draws. A pair is a Gaussian in a tile.

    Attributes:
        offsets: Tiles stand row by row; those of tile t are `gaussians[offsets[t] : offsets[t + 1]]`.
        gaussians: Indices, near to far within a tile; equal depths by index.
        starts: Gaussian n has pairs `starts[n]` to `starts[n + 1]` if pairs are ordered by Gaussian, then tile.
        slots: Where each entry of `gaussians` stands in that order: backward sums along it.
    """

    offsets: Int[Tensor, "T+1"]
    gaussians: Int[Tensor, "P"]
    starts: Int[Tensor, "N+1"]
    slots: Int[Tensor, "P"]


def intersect(
    means2d: Float[Tensor, "N 2"],
    conics: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    depths: Float[Tensor, "N"],
    extents: Float[Tensor, "N 2"],
    size: tuple[int, int],
) -> Tiles:
    """Finds the tiles in which each Gaussian's alpha reaches 1/255, and sorts.

    Args:
        means2d: Pixels; the first pixel's centre is (0.5, 0.5).
        conics: A, B, C of the inverse 2D covariance, positive definite.
        opacities: In [0, 1]; 0 is in no tile.
        depths: What orders the Gaussians of a tile, any finite number.
        extents: Half width and half height of the box outside which alpha is below 1/255, pixels; 0 is in no tile.
        size: Width and height of the image in pixels.

    Returns:
        `Tiles`; nothing is differentiable.

    Raises:
        TypeError, ValueError: A wrong dtype, shape, device or size, or more than 2^31 - 1 pairs.

    Source: the test is that of Hanson et al. 2024 (Speedy-Splat), arXiv:2412.00578, sec. 4.1, on the rectangle of the
        tile's pixel centres.
    """
    require_size("gaussian_tiles", size)
    checks.require("gaussian_tiles", "means2d", means2d, ("N", 2))
    n, device = means2d.shape[0], means2d.device
    checks.require("gaussian_tiles", "conics", conics, (n, 3), device=device)
    checks.require("gaussian_tiles", "opacities", opacities, (n,), device=device)
    checks.require("gaussian_tiles", "depths", depths, (n,), device=device)
    checks.require("gaussian_tiles", "extents", extents, (n, 2), device=device)
    with torch.no_grad():
        return Tiles(*reference.forward(means2d, conics, opacities, depths, extents, size))


def require_size(op: str, size: tuple[int, int]) -> None:
    """Raises unless `size` is the width and height of an image."""
    if len(size) != 2 or not all(type(side) is int and 0 < side <= _MOST_PIXELS for side in size):
        raise ValueError(f"{op}: size must be (width, height), whole numbers of pixels from 1 to 2^20, got {size!r}")


def count(size: tuple[int, int]) -> int:
    """How many tiles an image has."""
    return -(-size[0] // TILE) * -(-size[1] // TILE)
