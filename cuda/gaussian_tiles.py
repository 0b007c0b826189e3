"""Which Gaussians each tile of an image draws: exact ellipse-tile test, near to far, in a fixed order."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.native import lib, threads
from neural.cuda.reference import gaussian_tiles as reference
from neural.errors import TooLarge

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
        TypeError, ValueError: A wrong dtype, shape, device or size.
        TooLarge: More than 2^31 - 1 pairs.

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
    if torch.compiler.is_compiling():
        starts = torch.ops.neural.gaussian_tiles_count(means2d, conics, opacities, extents, *size)
        n_pairs = int(starts[-1])
        fill = torch.ops.neural.gaussian_tiles_fill
        offsets, gaussians, slots = fill(means2d, conics, opacities, depths, extents, starts, n_pairs, *size)
    else:
        starts, n_pairs = _count(means2d, conics, opacities, extents, *size)
        offsets, gaussians, slots = _fill(means2d, conics, opacities, depths, extents, starts, n_pairs, *size)
    return Tiles(offsets, gaussians, starts, slots)


def require_size(op: str, size: tuple[int, int]) -> None:
    """Raises unless `size` is the width and height of an image."""
    if len(size) == 2:
        width, height = size
        if type(width) is type(height) is int and 0 < width <= _MOST_PIXELS and 0 < height <= _MOST_PIXELS:
            return
    raise ValueError(f"{op}: size must be (width, height), whole numbers of pixels from 1 to 2^20, got {size!r}")


def count(size: tuple[int, int]) -> int:
    """How many tiles an image has."""
    return -(-size[0] // TILE) * -(-size[1] // TILE)


def _count(
    means2d: Tensor, conics: Tensor, opacities: Tensor, extents: Tensor, width: int, height: int
) -> tuple[Tensor, int]:
    """starts, and the number of pairs."""
    backend = checks.backend(means2d)
    if backend == "reference":
        starts = reference.starts(means2d, conics, opacities, extents, (width, height))
        return starts, int(starts[-1])
    n = means2d.shape[0]
    starts = torch.empty(n + 1, dtype=torch.int64, device=means2d.device)
    (means, mn, mk), (conic, cn, ck), (extent, en, ek) = map(checks.rows, (means2d, conics, extents))
    opacities = opacities.contiguous()
    if backend == "cuda":
        starts[:1] = 0
        jit.launch(
            "gaussian_tiles", "gaussian_tiles_count", {}, n,
            (means, mn, mk, conic, cn, ck, opacities, extent, en, ek, n, width, height, starts[1:]),
        )  # fmt: skip
        starts = starts.cumsum(0)
        return starts, int(starts[-1])
    n_pairs = lib.gaussian_tiles_count(
        means.data_ptr(), mn, mk, conic.data_ptr(), cn, ck, opacities.data_ptr(), extent.data_ptr(), en, ek, n, width,
        height, starts.data_ptr(), threads(),
    )  # fmt: skip
    return starts, n_pairs


def _fill(
    means2d: Tensor, conics: Tensor, opacities: Tensor, depths: Tensor, extents: Tensor, starts: Tensor, n_pairs: int,
    width: int, height: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """offsets, gaussians, slots."""
    if n_pairs > _MOST_PAIRS:
        raise TooLarge(
            f"gaussian_tiles: {n_pairs} pairs of a Gaussian and a tile, more than the {_MOST_PAIRS} that can be"
            " counted; draw fewer or smaller Gaussians, or a smaller image"
        )
    backend = checks.backend(means2d)
    if backend == "reference":
        return reference.fill(means2d, conics, opacities, depths, extents, (width, height))
    n, n_tiles = means2d.shape[0], count((width, height))
    offsets = starts.new_empty(n_tiles + 1)
    gaussians, slots = (starts.new_empty(n_pairs, dtype=torch.int32) for _ in range(2))
    (means, mn, mk), (conic, cn, ck), (extent, en, ek) = map(checks.rows, (means2d, conics, extents))
    opacities, depths = opacities.contiguous(), depths.contiguous()
    if backend == "cuda":
        keys = starts.new_empty(n_pairs)
        jit.launch(
            "gaussian_tiles", "gaussian_tiles_keys", {}, n,
            (means, mn, mk, conic, cn, ck, opacities, depths, extent, en, ek, n, width, height, starts, keys,
             gaussians),
        )  # fmt: skip
        keys, order = torch.sort(keys, stable=True)
        offsets = torch.searchsorted(keys >> 32, torch.arange(n_tiles + 1, device=keys.device))
        return offsets, gaussians[order], order.to(torch.int32)
    lib.gaussian_tiles_fill(
        means.data_ptr(), mn, mk, conic.data_ptr(), cn, ck, opacities.data_ptr(), depths.data_ptr(), extent.data_ptr(),
        en, ek, n, width, height, starts.data_ptr(), offsets.data_ptr(), gaussians.data_ptr(),
        slots.data_ptr(), threads(),
    )  # fmt: skip
    return offsets, gaussians, slots


library.define(
    "gaussian_tiles_count",
    "(Tensor means2d, Tensor conics, Tensor opacities, Tensor extents, SymInt width, SymInt height) -> Tensor",
    implementation=lambda *args: _count(*args)[0],
    fake=lambda means2d, *args: means2d.new_empty(means2d.shape[0] + 1, dtype=torch.int64),
)
library.define(
    "gaussian_tiles_fill",
    "(Tensor means2d, Tensor conics, Tensor opacities, Tensor depths, Tensor extents, Tensor starts, SymInt n_pairs,"
    " SymInt width, SymInt height) -> (Tensor, Tensor, Tensor)",
    implementation=_fill,
    fake=lambda *args: (
        args[5].new_empty(count(args[7:9]) + 1),
        args[5].new_empty(args[6], dtype=torch.int32),
        args[5].new_empty(args[6], dtype=torch.int32),
    ),
)
