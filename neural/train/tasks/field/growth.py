"""Fields whose grid grows in training: cells where a step's points lie, and the same cells out of a checkpoint."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from neural.encodings.scalable_hash_grid import ScalableHashGrid
from neural.errors import CheckpointError


def grow(field: nn.Module, points: Tensor) -> int:
    """Creates the cells that points [N, D] of the unit cube need; the optimiser is the caller's to extend.

    Returns:
        How many cells were created; 0 for a field that does not grow.

    Raises:
        TooLarge: They do not fit into memory.
    """
    return sum(grid.grow(points.detach().clamp(0, 1)) for _, grid in _growing(field))


def cell_tensors(field: nn.Module) -> dict[str, Tensor]:
    """What a checkpoint needs beside parameters: the cells of grids that grow, in the order of their tables."""
    return {f"model/{name}": grid.cells.clone() for name, grid in _growing(field)}


def lay_out(field: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Gives grids that grow the cells of a checkpoint, so that the tables of it fit; their values come afterwards.

    Raises:
        CheckpointError: It has no cells, or those of another grid.
    """
    for name, grid in _growing(field):
        cells = tensors.get(f"model/{name}")
        if cells is None:
            raise CheckpointError(f"the checkpoint is of another field: it has no {name}; start anew with --overwrite")
        try:
            grid.lay_out(cells.to(torch.device("cpu")))
        except ValueError as error:
            raise CheckpointError(f"the checkpoint is of another field: {name}: {error}") from error


def _growing(field: nn.Module) -> Iterator[tuple[str, ScalableHashGrid]]:
    """Grids that grow, and the names of their cells."""
    for name, module in field.named_modules():
        if isinstance(module, ScalableHashGrid):
            yield f"{name}.cells".lstrip("."), module
