"""Which tiles each Gaussian's ellipse reaches, in plain torch: oracle of the tests, and the path of other devices."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TILE = 16  # pixels
MIN_ALPHA = 1.0 / 255.0  # what blending skips below
SLACK = 1e-4  # on the exponent, above what rounding in fp32 can take from it: no blended pixel is ever missed


def starts(
    means2d: Float[Tensor, "N 2"],
    conics: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    extents: Float[Tensor, "N 2"],
    size: tuple[int, int],
) -> Int[Tensor, "N+1"]:
    """Where each Gaussian's pairs begin if pairs are ordered by Gaussian, then tile."""
    owner, _ = pairs(means2d, conics, opacities, extents, size)
    counts = torch.bincount(owner, minlength=means2d.shape[0])
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def fill(
    means2d: Float[Tensor, "N 2"],
    conics: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    depths: Float[Tensor, "N"],
    extents: Float[Tensor, "N 2"],
    size: tuple[int, int],
) -> tuple[Int[Tensor, "T+1"], Int[Tensor, "P"], Int[Tensor, "P"]]:
    """offsets, gaussians, slots as `Tiles` has them."""
    owner, tile = pairs(means2d, conics, opacities, extents, size)
    n, device = means2d.shape[0], means2d.device
    rank = torch.empty(n, dtype=torch.int64, device=device)
    rank[torch.argsort(depths, stable=True)] = torch.arange(n, device=device)
    order = torch.argsort(tile * max(n, 1) + rank[owner])
    per_tile = torch.bincount(tile, minlength=-(-size[0] // TILE) * -(-size[1] // TILE))
    offsets = torch.cat([per_tile.new_zeros(1), per_tile.cumsum(0)])
    return offsets, owner[order].to(torch.int32), order.to(torch.int32)


def pairs(
    means2d: Float[Tensor, "N 2"],
    conics: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    extents: Float[Tensor, "N 2"],
    size: tuple[int, int],
) -> tuple[Int[Tensor, "P"], Int[Tensor, "P"]]:
    """Gaussian and tile of every pair, by Gaussian, then tile."""
    n, device = means2d.shape[0], means2d.device
    first, count = boxes(means2d, opacities, extents, size)
    per_gaussian = count.prod(1)
    owner = torch.repeat_interleave(torch.arange(n, device=device), per_gaussian)
    place = torch.arange(len(owner), device=device) - (per_gaussian.cumsum(0) - per_gaussian)[owner]
    tile_x = first[owner, 0] + place % count[owner, 0]
    tile_y = first[owner, 1] + place // count[owner, 0]
    hit = reaches(means2d[owner], conics[owner], opacities[owner], tile_x, tile_y, size)
    return owner[hit], (tile_y * -(-size[0] // TILE) + tile_x)[hit]


def boxes(
    means2d: Float[Tensor, "N 2"], opacities: Float[Tensor, "N"], extents: Float[Tensor, "N 2"], size: tuple[int, int]
) -> tuple[Int[Tensor, "N 2"], Int[Tensor, "N 2"]]:
    """First tile and number of tiles, (x, y), of the box that holds each ellipse's pixel centres; none if culled."""
    pixels = torch.tensor(size, device=means2d.device)
    low = torch.ceil(means2d - extents - 0.5 - SLACK).clamp(min=0).minimum(pixels.to(means2d))
    high = torch.floor(means2d + extents - 0.5 + SLACK).clamp(min=-1).minimum((pixels - 1).to(means2d))
    shown = ((high >= low) & (extents > 0)).all(1) & (opacities > 0)
    first = torch.where(shown[:, None], low, 0.0).to(torch.int64) // TILE
    last = torch.where(shown[:, None], high, 0.0).to(torch.int64) // TILE
    return first, torch.where(shown[:, None], last - first + 1, 0)


def reaches(
    means2d: Float[Tensor, "P 2"],
    conics: Float[Tensor, "P 3"],
    opacities: Float[Tensor, "P"],
    tile_x: Int[Tensor, "P"],
    tile_y: Int[Tensor, "P"],
    size: tuple[int, int],
) -> Bool[Tensor, "P"]:
    """Whether alpha reaches 1/255 anywhere in the rectangle that the tile's pixel centres span."""
    low = torch.stack([tile_x, tile_y], 1) * TILE
    high = torch.minimum(low + TILE, torch.tensor(size, device=low.device)) - 1
    low_x, low_y = (low.to(means2d) + 0.5 - means2d).unbind(1)
    high_x, high_y = (high.to(means2d) + 0.5 - means2d).unbind(1)
    a, b, c = conics.unbind(1)
    # a convex function's least value on a rectangle lies on an edge that faces its centre
    edge_x, edge_y = clamp(low_x, high_x, 0.0), clamp(low_y, high_y, 0.0)
    across = quadratic(a, b, c, edge_x, clamp(low_y, high_y, -b / c * edge_x))
    along = quadratic(a, b, c, clamp(low_x, high_x, -b / a * edge_y), edge_y)
    return torch.minimum(across, along) <= torch.log(opacities / MIN_ALPHA) + SLACK


def quadratic(a: Tensor, b: Tensor, c: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """What the exponent falls by from the centre."""
    return 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy


def clamp(low: Tensor, high: Tensor, value: Tensor | float) -> Tensor:
    return torch.minimum(torch.maximum(low, torch.as_tensor(value).to(low)), high)
