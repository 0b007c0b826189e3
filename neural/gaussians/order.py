"""Gaussians in the order of their places: Morton order, clusters of neighbours with boxes, pages, culling.

Once the means are in Morton order, each run of `CLUSTER` Gaussians lies close together: whole clusters can be left out
of a view by their boxes, and a page of `PAGE` is what moves between disk, memory and device.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

CLUSTER = 128  # Gaussians
PAGE = 4096
SIGMAS = 3.33  # how far a Gaussian reaches: exp(-3.33^2 / 2) = 1 / 255
SLACK = 0.15  # of the image's size: how far outside it `project` still takes the slope of its projection at the mean


@torch.no_grad()
def permute(tensors: Iterable[Tensor], order: Int[Tensor, "N"]) -> None:
    """Put the rows of every tensor that has N of them in a new order, in place; other tensors stay as they are.

    Args:
        tensors: Parameters, gradients, and an optimiser's state: `Adam.state_dict().values()`, whose tensors are the
            live ones.
        order: Row i becomes what row `order[i]` was.
    """
    for tensor in tensors:
        if tensor.ndim and len(tensor) == len(order):
            tensor.copy_(tensor.index_select(0, order))


@torch.no_grad()
def half_extents(
    quats: Float[Tensor, "N 4"], log_scales: Float[Tensor, "N 3"], sigmas: float = SIGMAS
) -> Float[Tensor, "N 3"]:
    """Half sides of the box along the axes around each Gaussian's ellipsoid: sigmas sqrt(diag(R S^2 R^T))."""
    variances = (rotations(quats) * log_scales.exp()[:, None, :]).square().sum(dim=-1)
    return sigmas * variances.sqrt()


def rotations(quats: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3 3"]:
    """Rotation matrices of quaternions w x y z of any length above 0."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1, eps=1e-30).unbind(dim=-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


@torch.no_grad()
def boxes(low: Float[Tensor, "N 3"], high: Float[Tensor, "N 3"], size: int = CLUSTER) -> Float[Tensor, "G 2 3"]:
    """Boxes around runs of `size` boxes, the last run may be shorter.

    Args:
        low: Smallest corners; for Gaussians `means - half_extents(...)`, for pages `boxes[:, 0]` of clusters.
        high: Largest corners.
        size: `CLUSTER`; `PAGE // CLUSTER` from clusters to pages.
    """
    whole = len(low) // size * size
    parts = [
        torch.stack([low[:whole].unflatten(0, (-1, size)).amin(1), high[:whole].unflatten(0, (-1, size)).amax(1)], 1)
    ]
    if whole < len(low):
        parts.append(torch.stack([low[whole:].amin(0), high[whole:].amax(0)])[None])
    return torch.cat(parts)


@torch.no_grad()
def in_view(
    boxes: Float[Tensor, "G 2 3"],
    w2c: Float[Tensor, "4 4"],
    intrinsics: Float[Tensor, "4"],
    size: tuple[int, int],
    *,
    near: float = 0.01,
    far: float = float("inf"),
    margin: float = 2.0,
) -> Bool[Tensor, "G"]:
    """Which boxes reach into the view pyramid of a pinhole camera; it may say yes to one that only passes a corner.

    Nothing inside a box is lost, nor any Gaussian that `project` sees and whose box is inside one. It draws the linear
    projection, which reaches beyond that of the ellipsoid: at an offset dz along the view by what the slope at which
    it was taken exceeds that of the image's border, at most 15 % of the image's size, times dz. Planes give way by it.

    Args:
        boxes: Smallest and largest corners in world coordinates, from `boxes`.
        w2c: World to camera (x right, y down, z forward).
        intrinsics: fx fy cx cy in pixels.
        size: Width and height in pixels.
        near: Smallest z that is seen.
        far: Largest z that is seen.
        margin: Pixels around the image that count as inside: the reach of the renderer's low-pass filter.

    Source: Assarsson and Moeller 2000, "Optimized View Frustum Culling Algorithms for Bounding Boxes", the
        plane test of the farthest corner.
    """
    fx, fy, cx, cy = (float(v) for v in intrinsics)
    width, height = size
    planes = [
        [fx, 0, cx + margin, 0], [-fx, 0, width + margin - cx, 0],
        [0, fy, cy + margin, 0], [0, -fy, height + margin - cy, 0], [0, 0, 1, -near],
    ]  # fmt: skip
    if far < float("inf"):
        planes.append([0, 0, -1, far])
    pose = w2c.detach().to("cpu", torch.float64)
    world = (torch.tensor(planes, dtype=torch.float64) @ pose).to(boxes.device, boxes.dtype)
    stretch = [SLACK * width] * 2 + [SLACK * height] * 2 + [0.0] * (len(planes) - 4)
    reach = world[:, :3].abs() + torch.tensor(stretch).outer(pose[2, :3].abs()).to(world)
    centre, half = boxes.mean(dim=1), (boxes[:, 1] - boxes[:, 0]) / 2
    farthest = centre @ world[:, :3].T + half @ reach.T + world[:, 3]
    return (farthest >= 0).all(dim=-1)
