"""The occupancy grid in plain torch and NumPy: the oracle of cuda/occupancy.py, for any device."""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from neural.cuda.reference import philox

POINT_STREAM = 0x6F636370


def coordinates(cells: Int[Tensor, " n"], resolution: int) -> tuple[Int[Tensor, " n"], Int[Tensor, "n 3"]]:
    """Cascade and integer coordinates of cells, bit by bit."""
    code = cells % resolution**3
    axes = [
        sum(((code >> (3 * bit + axis)) & 1) << bit for bit in range(resolution.bit_length() - 1)) for axis in range(3)
    ]
    return cells // resolution**3, torch.stack([torch.as_tensor(a) for a in axes], -1)


def points(
    cells: Int[Tensor, " n"], seed: int, step: int, resolution: int, centre: tuple[float, ...], half_extent: float
) -> Float[Tensor, "n 3"]:
    """A random point in each cell, world units."""
    cascade, cell = coordinates(cells, resolution)
    words = philox.blocks(seed % 2**64, POINT_STREAM, step, cells.cpu().numpy())[:, :3]
    jitter = torch.from_numpy((words >> 8).astype("float32") * 2.0**-24).to(cells.device)
    unit = ((cell + jitter.float()) / resolution - 0.5) * torch.pow(2.0, cascade.float())[:, None]
    return torch.tensor(centre, device=cells.device) + unit * (2 * half_extent)


def update(
    thickness: Float[Tensor, "K n"], cells: Int[Tensor, " m"] | None, values: Float[Tensor, " m"], decay: float
) -> None:
    """Decays all cells that are not negative, then raises those that were drawn; in place."""
    flat = thickness.view(-1)
    dead = flat < 0
    flat.copy_(torch.where(dead, flat, flat * decay))
    index = torch.arange(flat.numel(), device=flat.device) if cells is None else cells
    raised = flat.scatter_reduce(0, index, values.nan_to_num(-1.0), "amax")
    flat.copy_(torch.where(dead, flat, raised))


def mean(thickness: Float[Tensor, "K n"]) -> Float[Tensor, ""]:
    """Mean over the cells that are not negative, 0 if there is none."""
    alive = thickness[thickness >= 0].double()
    return (alive.sum() / max(alive.numel(), 1)).float()


def pack(thickness: Float[Tensor, "K n"], threshold: Float[Tensor, ""], resolution: int) -> UInt8[Tensor, "K b"]:
    """Bits above the threshold, then each cascade's cells that cover an occupied cell of the next finer one."""
    occupied = thickness > threshold
    for k in range(thickness.shape[0] - 1):
        _, cell = coordinates(occupied[k].nonzero()[:, 0], resolution)
        covering = cell // 2 + resolution // 4
        code = torch.zeros_like(covering[:, 0])
        for bit in range(resolution.bit_length() - 1):
            for axis in range(3):
                code |= (covering[:, axis] >> bit & 1) << (3 * bit + axis)
        occupied[k + 1, code] = True
    weights = 2 ** torch.arange(8, device=thickness.device)
    return (occupied.view(len(thickness), -1, 8) * weights).sum(-1).to(torch.uint8)
