"""The scalable hash grid as it grows from 1 to 16 cells: time of a step at equal points, and the loss across growth.

A step is what training does: make absent cells, look up, network, squared error, backward, Adam. Lookups are as many
for any number of cells, but rows are not: while 16 tables are together small against the batch, a step costs what it
did; where tables are large, every cell brings rows of its own that the step must read and write once. Both are shown.
"""

import os
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from neural.cuda.gradients import GradientBuffer
from neural.encodings.scalable_hash_grid import ScalableHashGrid
from neural.mlp import MLP
from neural.optim import Adam, Group
from tests.bench.harness import Row, Size, Spread, interleave, threads

MAP = "images/shadedrelief_10800x5400.jpg"
CITY = Path(__file__).parents[2] / "data" / "city" / "images"
CELLS = 4  # per side once grown: 16 in all
WINDOW = 6  # steps before and after a growth


def run(size: Size) -> list[Row]:
    with threads(1):
        return [*step_times(size), *growth_times(size), *loss_across_growth(size)]


class Training:
    """A field of a growing grid, its optimiser, and its steps.

    Args:
        grid: With the cells it begins with.
        n_out: Values per point.
    """

    def __init__(self, grid: ScalableHashGrid, n_out: int) -> None:
        self.grid, self.mlp = grid, MLP(grid.n_output_dims, n_out, width=64, n_hidden_layers=2)
        grid.gradients, self.mlp.gradients = GradientBuffer.like(grid.table), GradientBuffer.like(self.mlp.params)
        self.optimiser = self.fresh_optimiser()

    def fresh_optimiser(self) -> Adam:
        """One that has forgotten everything."""
        grid, mlp = self.grid, self.mlp
        assert grid.gradients is not None and mlp.gradients is not None
        return Adam([
            Group({"table": grid.table}, lr=1e-2, lazy=True, buffers={"table": grid.gradients}),
            Group({"mlp": mlp.params}, lr=1e-3, buffers={"mlp": mlp.gradients}),
        ])  # fmt: skip

    def step(self, points: Tensor, target: Tensor) -> None:
        if self.grid.grow(points):
            self.optimiser.extend()
        (self.mlp(self.grid(points)) - target).square().mean().backward()
        self.optimiser.step()


def step_times(size: Size) -> list[Row]:
    """CPU time of a step with points spread over 1 and over 16 cells."""
    settings = [(14, 18, 1.15), (15, 18, None), (17, 18, None), (15, 16, None)] if size == "full" else [(8, 9, None)]
    rows = []
    for log2_size, log2_points, bar in settings:
        n_points, work = 1 << log2_points, {}
        for side in (1, CELLS):
            grid = ScalableHashGrid(3, cell_size=1.0, extent=(0.0, 1.0), log2_hashmap_size=log2_size,
                                    finest_resolution=1024)  # fmt: skip
            training = Training(grid, 4)
            generator = torch.Generator().manual_seed(side)
            points = torch.rand(3, n_points, generator=generator).T * torch.tensor([side, side, 1.0])
            target = torch.rand(4, n_points, generator=generator).T
            work[f"{side * side}"] = lambda t=training, p=points, y=target: t.step(p, y)
        times = interleave(work, 9 if size == "full" else 2)
        name = f"2^{log2_points} points, 16 levels x 2 of 2^{log2_size} a cell"
        rows += [
            Row(f"{name}: step with 1 cell", times.of("1"), "ms", note="CPU time, one thread"),
            Row(f"{name}: 16 cells over 1", times.ratio("16", "1"), "x", at_most=bar),
        ]
    return rows


def growth_times(size: Size) -> list[Row]:
    """What it takes to look for new cells, and to make one."""
    log2_size, n_points = (17, 1 << 18) if size == "full" else (8, 1 << 9)
    grid = ScalableHashGrid(3, cell_size=1.0, extent=(0.0, 1.0), log2_hashmap_size=log2_size, finest_resolution=1024)
    training = Training(grid, 4)
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(3, n_points, generator=generator).T * torch.tensor([CELLS, CELLS, 1.0])
    grid.grow(points)
    training.optimiser.extend()
    looking = interleave({"look": lambda: grid.grow(points)}, 5)
    beyond, seconds = points[:1].clone(), []
    for i in range(5):
        beyond[0, 0] = CELLS + i + 0.5
        start = time.process_time()
        assert grid.grow(beyond) == 1
        training.optimiser.extend()
        seconds.append(1e3 * (time.process_time() - start))
    note = f"beside 16 of 2^{log2_size} x 2 x 16 levels, {grid.bytes_per_cell / 1e6:.1f} MB each; Adam's state included"
    return [
        Row("looking for new cells where there are none", looking.of("look"), "ms", note=f"{n_points} points"),
        Row("making one cell", Spread.of(seconds), "ms", note=note),
    ]


def loss_across_growth(size: Size) -> list[Row]:
    """Error in the first cell of a picture while the window that points come from grows to 16 cells.

    Over each step that makes cells: the mean error of the steps after it over that of the steps before. What the
    window's growth does to the error is in all three runs; what making cells does shows against the run that has all
    cells from the beginning, and against one whose optimiser begins anew with every growth (as the published code).
    """
    picture, name = _picture(size)
    if picture is None:
        return [Row("error in the first cell over a growth", None, "x", at_most=1.1, note="needs NEURAL_DATA")]
    before, growing, window = (300, 200, WINDOW) if size == "full" else (4, 6, 2)
    errors, grown = _errors(picture, before, growing, "kept")
    rows = []
    for how in ("kept", "anew"):
        if how == "anew":
            errors, grown = _errors(picture, before, growing, how)
        else:
            same = errors == _errors(picture, before, growing, "at once")[0]
        jumps = [sum(errors[at : at + window]) / sum(errors[at - window : at]) for at in grown]
        note = f"{name}; {len(jumps)} steps made cells, worst {max(jumps):.2f}"
        if how == "kept":
            note += f"; errors {'equal' if same else 'DIFFER from'} those with all cells from the start, in every bit"
        rows.append(Row(f"error in the first cell over a growth, optimiser {how}", Spread.of(jumps), "x",
                        at_most=1.1 if how == "kept" and size == "full" else None, note=note))  # fmt: skip
    return rows


def _errors(picture: Tensor, before: int, growing: int, how: str) -> tuple[list[float], list[int]]:
    """Mean squared error in the first cell after each step, and the steps that made cells."""
    edge = picture.shape[0] // CELLS
    grid = ScalableHashGrid(2, cell_size=edge, axes="all", n_levels=8, log2_hashmap_size=14,
                            finest_resolution=max(16, edge // 2))  # fmt: skip
    corners = torch.cartesian_prod(*[(torch.arange(CELLS) + 0.5) * edge] * 2)
    grid.grow(corners if how == "at once" else corners[:1])
    training, errors, grown = Training(grid, 3), [], []
    held_out = torch.rand(2, 2048, generator=torch.Generator().manual_seed(1)).T * edge
    wanted = _look_up(picture, held_out)
    for step in range(before + growing):
        side = edge * (1 + (CELLS - 1) * max(0, step - before) / growing)
        points = torch.rand(2, 1 << 13, generator=torch.Generator().manual_seed(100 + step)).T * side
        n_cells = len(grid.cells)
        if how == "anew" and grid.grow(points):
            training.optimiser = training.fresh_optimiser()
        training.step(points, _look_up(picture, points))
        if len(grid.cells) > n_cells:
            grown.append(step)
        with torch.no_grad():
            errors.append((training.mlp(grid(held_out)) - wanted).square().mean().item())
    return errors, grown


def _look_up(picture: Tensor, points: Tensor) -> Tensor:
    x, y = points.long().clamp(0, picture.shape[0] - 1).unbind(1)
    return picture[y, x]


def _picture(size: Size) -> tuple[Tensor | None, str]:
    """A square picture, [E, E, 3] in [0, 1], and its name."""
    folder = os.environ.get("NEURAL_DATA")
    if size == "tiny":
        path = sorted(CITY.iterdir())[0]
        return _square(path, 0, 0, 64), path.name
    if not folder:
        return None, ""
    return _square(Path(folder) / MAP, 5000, 1200, 2048), f"{Path(MAP).name}, 2048 x 2048 of it, cells of 512"


def _square(path: Path, left: int, top: int, edge: int) -> Tensor:
    Image.MAX_IMAGE_PIXELS = None  # the map has 58 million, which is no attack
    with Image.open(path) as image:
        crop = image.convert("RGB").crop((left, top, left + edge, top + edge))
    return torch.from_numpy(np.asarray(crop, np.float32) / 255)
