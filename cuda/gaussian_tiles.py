"""Projected Gaussians sorted into the tiles of an image, near to far."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import checks, library
from neural.cuda.native import lib, threads
from neural.cuda.reference import gaussian_tiles as reference

TILE = 16  # pixels
BLOCK = 4
MOST_PAIRS = 2**31 - 1


class Tiles(NamedTuple):
    """Which Gaussians each tile shows. T tiles row by row, P pairs of a tile and a Gaussian.

    Attributes:
        offsets: int64; the pairs of tile t are offsets[t] .. offsets[t + 1], near to far, ties by index.
        gaussians: int32, the Gaussian of each pair.
        masks: int16, bit 4 row + column of the 4x4-pixel blocks of the tile that the Gaussian reaches.
        slots: int32, place of each pair if they were sorted by Gaussian: where a backward pass leaves its share.
        starts: int32; the slots of Gaussian g are starts[g] .. starts[g + 1].
    """

    offsets: Int[Tensor, "T+1"]
    gaussians: Int[Tensor, "P"]
    masks: Int[Tensor, "P"]
    slots: Int[Tensor, "P"]
    starts: Int[Tensor, "N+1"]


def intersect(
    means2d: Float[Tensor, "N 2"],
    conics: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    depths: Float[Tensor, "N"],
    extents: Float[Tensor, "N 2"],
    size: tuple[int, int],
) -> Tiles:
    """Finds the tiles that each Gaussian's ellipse of alpha 1/255 meets, and sorts them by depth within each tile.

    Args:
        means2d: Centres in pixels, as all of these from `neural.cuda.gaussian_projection.project`.
        conics: Inverse covariances A, B, C.
        opacities: 0 for Gaussians that are not seen.
        depths: What the order follows; any finite numbers.
        extents: Half width and height of the ellipse's box.
        size: Width and height of the image in pixels.

    Returns:
        `Tiles`; the same for any number of threads.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device, or more than 2^31 - 1 pairs.

    Source: Hanson et al. 2024, arXiv:2412.00578 (Speedy-Splat), section 4; the sort in two passes as in Hahlbohm et al.
        2026 (Faster-GS).
    """
    checks.require("intersect", "means2d", means2d, ("N", 2))
    n, device = means2d.shape[0], means2d.device
    checks.require("intersect", "conics", conics, (n, 3), device=device)
    checks.require("intersect", "opacities", opacities, (n,), device=device)
    checks.require("intersect", "depths", depths, (n,), device=device)
    checks.require_like("intersect", "extents", extents, means2d)
    width, height = size
    if not (1 <= width <= 1 << 20 and 1 <= height <= 1 << 20):
        raise ValueError(f"intersect: size must be 1 to 2^20 pixels, got {width}x{height}")
    arguments = (means2d, conics, opacities, depths, extents, width, height)
    if torch.compiler.is_compiling():
        return Tiles(*torch.ops.neural.gaussian_tiles(*arguments))
    return Tiles(*_intersect(*arguments))


def _intersect(
    means2d: Tensor, conics: Tensor, opacities: Tensor, depths: Tensor, extents: Tensor, width: int, height: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    if checks.backend(means2d) != "cpu":
        return reference.intersect(means2d, conics, opacities, depths, extents, width, height)
    n = means2d.shape[0]
    sources = [checks.rows(t) for t in (means2d, conics, extents)]
    (centres, mn, mk), (inverse, cn, ck), (boxes, en, ek) = sources
    opacities, depths = opacities.contiguous(), depths.contiguous()
    starts = torch.empty(n + 1, dtype=torch.int32)
    n_pairs = lib.gaussian_tiles_count(
        centres.data_ptr(), mn, mk, inverse.data_ptr(), cn, ck, opacities.data_ptr(), boxes.data_ptr(), en, ek, n,
        width, height, starts.data_ptr(), threads(),
    )  # fmt: skip
    refuse_too_many(n_pairs, width, height)
    offsets = torch.empty(-(-width // TILE) * -(-height // TILE) + 1, dtype=torch.int64)
    gaussians, slots = torch.empty(n_pairs, dtype=torch.int32), torch.empty(n_pairs, dtype=torch.int32)
    masks = torch.empty(n_pairs, dtype=torch.int16)
    lib.gaussian_tiles_fill(
        centres.data_ptr(), mn, mk, inverse.data_ptr(), cn, ck, opacities.data_ptr(), depths.data_ptr(),
        boxes.data_ptr(), en, ek, n, width, height, starts.data_ptr(), offsets.data_ptr(), gaussians.data_ptr(),
        masks.data_ptr(), slots.data_ptr(), threads(),
    )  # fmt: skip
    return offsets, gaussians, masks, slots, starts


def refuse_too_many(n_pairs: int, width: int, height: int) -> None:
    """Raises where pairs could not be counted in 32 bits."""
    if n_pairs > MOST_PAIRS:
        raise ValueError(
            f"intersect: {n_pairs} pairs of a tile and a Gaussian at {width}x{height} pixels, at most {MOST_PAIRS} can "
            "be sorted; render fewer Gaussians or a smaller image"
        )


def _fake(
    means2d: Tensor, conics: Tensor, opacities: Tensor, depths: Tensor, extents: Tensor, width: int, height: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    n_pairs = torch.library.get_ctx().new_dynamic_size()
    n_tiles = -(-width // TILE) * -(-height // TILE)
    return (
        means2d.new_empty(n_tiles + 1, dtype=torch.int64),
        means2d.new_empty(n_pairs, dtype=torch.int32),
        means2d.new_empty(n_pairs, dtype=torch.int16),
        means2d.new_empty(n_pairs, dtype=torch.int32),
        means2d.new_empty(means2d.shape[0] + 1, dtype=torch.int32),
    )


library.define(
    "gaussian_tiles",
    "(Tensor means2d, Tensor conics, Tensor opacities, Tensor depths, Tensor extents, int width, int height)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    implementation=_intersect,
    fake=_fake,
)
