"""Blending of surfels in plain torch, tile by tile, differentiable by autograd: oracle of the tests."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neural.cuda.reference.gaussian_blend import MAX_ALPHA, MIN_TRANSMITTANCE, Size, by_autograd, tiles
from neural.cuda.reference.gaussian_tiles import MIN_ALPHA

PLANES = 4  # alpha, expected depth, median depth, distortion


def forward(
    means2d: Float[Tensor, "N 2"],
    axes: Float[Tensor, "N 6"],
    depths: Float[Tensor, "N"],
    opacities: Float[Tensor, "N"],
    features: Float[Tensor, "N C"],
    background: Float[Tensor, "C"] | None,
    offsets: Int[Tensor, "T+1"],
    gaussians: Int[Tensor, "P"],
    size: Size,
    absolute: Float[Tensor, "N 2"] | None = None,
) -> tuple[Float[Tensor, "C H W"], Float[Tensor, "4 H W"]]:
    """Features; alpha, expected depth, median depth, distortion.

    `absolute` is added to in backward: per axis, the sum of |d loss / d means2d| over pixels.
    """
    width, height = size
    colors, planes = (features.new_zeros(k, height, width) for k in (features.shape[1], PLANES))
    if background is not None:
        colors = colors + background[:, None, None]
    for rows, columns, owners in tiles(offsets, gaussians, size):
        x = torch.arange(columns.start, columns.stop).to(means2d) + 0.5
        y = torch.arange(rows.start, rows.stop).to(means2d) + 0.5
        places = means2d[owners][:, None, None, :].expand(-1, len(y), len(x), -1)
        if absolute is not None and places.requires_grad:

            def collect(grad: Tensor, owners: Tensor = owners, sums: Tensor = absolute) -> None:
                sums.index_add_(0, owners, grad.abs().sum((1, 2)))

            places.register_hook(collect)
        offset = x - places[..., 0], y[:, None] - places[..., 1]
        squared, depth = intersections(*offset, axes[owners], depths[owners])
        alpha = (opacities[owners][:, None, None] * torch.exp(-0.5 * squared)).clamp(max=MAX_ALPHA)
        shown = alpha >= MIN_ALPHA
        after = torch.where(shown, 1.0 - alpha, 1.0).cumprod(0)
        before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
        kept = shown & (after.detach() >= MIN_TRANSMITTANCE)  # as in reference/gaussian_blend.py
        found = _sums(before, alpha, kept, depth, features[owners], background)
        colors[:, rows, columns], planes[:, rows, columns] = found
    return colors, planes


def backward(
    grads: tuple[Tensor | None, ...], inputs: tuple[Tensor | None, ...], offsets: Tensor, gaussians: Tensor,
    size: Size, absolute: Float[Tensor, "N"] | None,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Gradients to the six inputs from those of the features and of each plane, by autograd through `forward`."""

    def blended(sums: Tensor | None, *leaves: Tensor | None) -> tuple[Tensor, ...]:
        colors, planes = forward(*leaves, offsets, gaussians, size, sums)  # type: ignore[arg-type, call-arg]
        return colors, *planes

    return by_autograd(blended, inputs, grads, absolute)


def intersections(
    dx: Float[Tensor, "G Y X"], dy: Float[Tensor, "G Y X"], axes: Float[Tensor, "G 6"], depths: Float[Tensor, "G"]
) -> tuple[Float[Tensor, "G Y X"], Float[Tensor, "G Y X"]]:
    """Squared distance from each surfel's centre in standard deviations, and depth, where pixels' rays meet it.

    The distance in pixels over sqrt(1/2) counts where it is less, and where the ray meets the plane behind the
    camera; the depth is the centre's there.
    """
    ux, vx, uy, vy, uz, vz = axes[:, :, None, None].unbind(1)
    z = depths[:, None, None]
    across, down = vy * dx - vx * dy, ux * dy - uy * dx
    area = ux * vy - vx * uy
    scale = area - uz * across - vz * down
    with torch.no_grad():
        near2 = 2 * (dx * dx + dy * dy)
        far2 = (z * z) * (across * across + down * down) / (scale * scale)
        met = (area * scale > 0) & (far2 <= near2)
    safe = torch.where(met, scale, 1.0)  # what is not met gives no gradient, not even NaN
    u, v = z * across / safe, z * down / safe
    return torch.where(met, u * u + v * v, 2 * (dx * dx + dy * dy)), torch.where(met, z * area / safe, z + 0 * dx)


def _sums(
    before: Tensor, alpha: Tensor, kept: Bool[Tensor, "G Y X"], depth: Tensor, features: Tensor,
    background: Tensor | None,
) -> tuple[Float[Tensor, "C Y X"], Float[Tensor, "4 Y X"]]:  # fmt: skip
    """What a tile's pixels show."""
    weights = torch.where(kept, before * alpha, 0.0)
    left = torch.where(kept, 1.0 - alpha, 1.0).prod(0)
    colors = torch.einsum("gyx,gc->cyx", weights, features)
    if background is not None:
        colors = colors + left * background[:, None, None]
    order = torch.arange(1, len(kept) + 1, device=kept.device)[:, None, None]
    last = torch.where(kept & (before > 0.5), order, 0).amax(0)
    median = torch.where(order == last, depth, 0.0).sum(0)
    first = torch.where(kept.any(0), depth.gather(0, kept.int().argmax(0, keepdim=True))[0], 0.0).detach()
    beyond = depth - first  # spreads do not depend on where depths are counted from, but their rounding does
    mean, square = (weights * beyond).sum(0), (weights * beyond * beyond).sum(0)
    total = weights.sum(0)
    return colors, torch.stack([1.0 - left, (weights * depth).sum(0), median, total * square - mean * mean])
