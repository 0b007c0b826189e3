"""Grouping points by cell in plain torch: the oracle of the tests, and the path of other devices."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

UNUSED, ABSENT = -1, -2
FARTHEST = 1048573.0


def find(
    positions: Float[Tensor, "N D"], coordinates: Int[Tensor, "C A"], frame: Float[Tensor, "2 D"], split: int,
    margin: float, nearest: bool,
) -> Int[Tensor, "N S"]:  # fmt: skip
    """The cell of every slot, by comparing with all coordinates; see cell_sort.cuh."""
    q, axes = _scaled(positions, frame, split)
    sound = (q.abs() <= FARTHEST).all(1)
    q = torch.where(sound[:, None], q, 0.0)
    cell = q.floor()
    f = q - cell
    side = torch.where(f < margin, -1, torch.where(f > 1 - margin, 1, 0))
    there = coordinates.to(q.device)
    columns = []
    for slot in range(1 << len(axes) if margin > 0 else 1):
        chosen = torch.tensor([(slot >> a) & 1 for a in range(len(axes))], device=q.device)
        wanted = cell.long() + side * chosen
        equal = (wanted[:, None] == there[None]).all(2) & sound[:, None]
        column = torch.where(equal.any(1), equal.int().argmax(1) if len(there) else 0, ABSENT)
        unused = ((chosen == 1) & (side == 0)).any(1)
        columns.append(torch.where(unused, UNUSED, column).int())
    found = torch.stack(columns, 1)
    if nearest and len(there):
        q, _ = _scaled(positions, frame, split)
        u = q[:, None] - there[None].to(q.dtype)
        away = torch.where(u < 0, -u, torch.where(u > 1, u - 1, 0.0)) / frame.to(q)[1, axes]
        closest = (away**2).sum(2).nan_to_num(0.0).argmin(1).int()
        found[:, 0] = torch.where((found >= 0).any(1), found[:, 0], closest)
    return found


def sort(
    positions: Float[Tensor, "N D"], coordinates: Int[Tensor, "C A"], frame: Float[Tensor, "2 D"], split: int,
    margin: float, nearest: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """local, segments, places and order as `cell_sort` gives them."""
    found = find(positions, coordinates, frame, split, margin, nearest)
    slots, n_cells = found.shape[1], coordinates.shape[0]
    cells = found.flatten().long()
    by_cell = torch.sort(torch.where(cells < 0, n_cells, cells), stable=True)
    segments = torch.searchsorted(by_cell.values, torch.arange(n_cells + 1, device=cells.device)).cpu()
    order = by_cell.indices[: int(segments[-1])]
    places = torch.full_like(cells, -1)
    places[order] = torch.arange(len(order), device=cells.device)
    rows = frame.to(positions)
    local = ((positions - rows[0]) * rows[1])[order // slots]
    axes = [d for d in range(positions.shape[1]) if (split >> d) & 1]
    at = coordinates.to(positions.device)[cells[order]].to(positions)
    local[:, axes] = (local[:, axes] - at + margin) / (1 + 2 * margin)
    return local, segments, places.reshape(-1, slots).int(), order.int()


def _scaled(positions: Tensor, frame: Tensor, split: int) -> tuple[Tensor, list[int]]:
    axes = [d for d in range(positions.shape[1]) if (split >> d) & 1]
    rows = frame.to(positions)
    return (positions[:, axes] - rows[0, axes]) * rows[1, axes], axes
