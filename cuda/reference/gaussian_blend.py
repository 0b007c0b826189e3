"""Blending of projected Gaussians in plain torch, tile by tile, differentiable by autograd: oracle of the tests."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda.reference.gaussian_tiles import MIN_ALPHA, TILE

MAX_ALPHA = 0.99
MIN_TRANSMITTANCE = 1e-4
Size = tuple[int, int]


def forward(
    means2d: Float[Tensor, "N 2"],
    conics: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    features: Float[Tensor, "N C"],
    background: Float[Tensor, "C"] | None,
    offsets: Int[Tensor, "T+1"],
    gaussians: Int[Tensor, "P"],
    size: Size,
    absolute: Float[Tensor, "N 2"] | None = None,
) -> tuple[Float[Tensor, "C H W"], Float[Tensor, "H W"]]:
    """Colours and alphas; `absolute` is added to in backward: per axis, the sum of |d loss / d means2d| over pixels."""
    width, height = size
    colors = features.new_zeros(features.shape[1], height, width)
    if background is not None:
        colors = colors + background[:, None, None]
    alphas = opacities.new_zeros(height, width)
    for rows, columns, owners in tiles(offsets, gaussians, size):
        before, alpha, kept = _layers(means2d, conics, opacities, owners, rows, columns, absolute)
        weights = torch.where(kept, before * alpha, 0.0)
        left = torch.where(kept, 1.0 - alpha, 1.0).prod(0)
        color = torch.einsum("gyx,gc->cyx", weights, features[owners])
        if background is not None:
            color = color + left * background[:, None, None]
        colors[:, rows, columns] = color
        alphas[rows, columns] = 1.0 - left
    return colors, alphas


def backward(
    grad_colors: Tensor | None, grad_alphas: Tensor | None, inputs: tuple[Tensor | None, ...], offsets: Tensor,
    gaussians: Tensor, size: Size, absolute: Tensor | None,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Gradients to means2d, conics, opacities, features and background, by autograd through `forward`."""

    def blended(sums: Tensor | None, *leaves: Tensor | None) -> tuple[Tensor, ...]:
        return forward(*leaves, offsets, gaussians, size, sums)  # type: ignore[arg-type, call-arg]

    return by_autograd(blended, inputs, (grad_colors, grad_alphas), absolute)


def by_autograd(
    blend: Callable[..., tuple[Tensor, ...]], inputs: tuple[Tensor | None, ...], grads: tuple[Tensor | None, ...],
    absolute: Float[Tensor, "N"] | None,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Gradients to the inputs that are there, zeros to those that nothing came of.

    Args:
        blend: Of a place for sums (see `absolute` of `forward`) and the inputs.
        inputs: Of `blend`.
        grads: For each of its results.
        absolute: Added to: lengths of these sums.
    """
    sums = None if absolute is None else torch.zeros(len(absolute), 2).to(absolute)
    with torch.enable_grad():
        leaves = [None if x is None else x.detach().requires_grad_() for x in inputs]
        given = [x for x in leaves if x is not None]
        outputs = blend(sums, *leaves)
        used = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None and o.requires_grad]
        if used:
            found = torch.autograd.grad(
                [o for o, _ in used], given, [g for _, g in used], allow_unused=True, materialize_grads=True
            )
        else:
            found = tuple(torch.zeros_like(x) for x in given)
    if absolute is not None and sums is not None:
        absolute += sums.norm(dim=1)
    rest = iter(found)
    return tuple(None if x is None else next(rest) for x in leaves)


def contributions(
    means2d: Tensor, conics: Tensor, opacities: Tensor, offsets: Tensor, gaussians: Tensor, size: Size
) -> tuple[Int[Tensor, "N"], Float[Tensor, "N"]]:
    """In how many pixels each Gaussian is blended, and the sum of its weights."""
    counts = torch.zeros(len(means2d), dtype=torch.int64, device=means2d.device)
    sums = torch.zeros_like(opacities)
    for rows, columns, owners in tiles(offsets, gaussians, size):
        before, alpha, kept = _layers(means2d, conics, opacities, owners, rows, columns)
        counts.index_add_(0, owners, kept.sum((1, 2)))
        sums.index_add_(0, owners, torch.where(kept, before * alpha, 0.0).sum((1, 2)))
    return counts, sums


def median_depth(
    means2d: Tensor, conics: Tensor, opacities: Tensor, depths: Tensor, offsets: Tensor, gaussians: Tensor, size: Size
) -> Float[Tensor, "H W"]:
    """Depth of the Gaussian that takes what is left from above one half to one half or less; 0 where none does."""
    width, height = size
    found = opacities.new_zeros(height, width)
    for rows, columns, owners in tiles(offsets, gaussians, size):
        before, alpha, kept = _layers(means2d, conics, opacities, owners, rows, columns)
        crosses = kept & (before > 0.5) & (before * (1.0 - alpha) <= 0.5)
        found[rows, columns] = torch.where(crosses, depths[owners][:, None, None], 0.0).sum(0)
    return found


def tiles(offsets: Tensor, gaussians: Tensor, size: Size) -> Iterator[tuple[slice, slice, Tensor]]:
    """Rows, columns and Gaussians of every tile that has any."""
    width, height = size
    across = -(-width // TILE)
    ends = offsets.tolist()
    for tile, (begin, end) in enumerate(pairwise(ends)):
        y, x = tile // across * TILE, tile % across * TILE
        if end > begin:
            yield slice(y, min(y + TILE, height)), slice(x, min(x + TILE, width)), gaussians[begin:end].long()


def _layers(
    means2d: Tensor, conics: Tensor, opacities: Tensor, owners: Tensor, rows: slice, columns: slice,
    absolute: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """[G, rows, columns]: what reaches each layer, its alpha, and whether it is blended."""
    x = torch.arange(columns.start, columns.stop).to(means2d) + 0.5
    y = torch.arange(rows.start, rows.stop).to(means2d) + 0.5
    place = means2d[owners][:, None, None, :].expand(-1, len(y), len(x), -1)
    if absolute is not None and place.requires_grad:

        def collect(grad: Tensor, sums: Tensor = absolute) -> None:
            sums.index_add_(0, owners, grad.abs().sum((1, 2)))

        place.register_hook(collect)
    dx, dy = x - place[..., 0], y[:, None] - place[..., 1]
    a, b, c = conics[owners][:, :, None, None].unbind(1)
    power = -0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy
    alpha = (opacities[owners][:, None, None] * torch.exp(power)).clamp(max=MAX_ALPHA)
    shown = (power <= 0) & (alpha >= MIN_ALPHA)
    after = torch.where(shown, 1.0 - alpha, 1.0).cumprod(0)
    before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
    # once a layer would leave too little, so would every later one: the product of all only falls
    return before, alpha, shown & (after.detach() >= MIN_TRANSMITTANCE)
