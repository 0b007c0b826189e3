"""An image's training step as one would write it in plain torch: hash grid, torch.nn, torch's fused Adam."""

from typing import Literal

import torch
from torch import Tensor, nn

from neural.cuda import levels as layout
from neural.fields.field import Field
from neural.train.tasks.image.task import ImageTask
from tests.bench.peers import TorchHashGrid
from tests.bench.plain_field import copied

Form = Literal["vectorised", "per_corner"]


class PlainImage:
    """Starts from the values of one of our fields and takes the same batches.

    Args:
        task: Of a hash grid; it draws.
        form: Of the hash grid.
    """

    def __init__(self, task: ImageTask, form: Form) -> None:
        field = task.field
        assert isinstance(field, Field)
        rows = field.encoding.levels[0]  # type: ignore[index]
        entries = [field.encoding.table.detach()[o : o + n] for o, n in rows[:, :2].tolist()]  # type: ignore[index]
        scales = layout.scales(rows)[:, 0].tolist()
        self.grid = TorchHashGrid(entries, scales, layout.resolutions(rows)[:, 0].tolist(), n_dims=2)
        self.look_up = getattr(self.grid, form)
        self.network = copied(field.mlp)
        optim = task.config.optim
        self.optimiser = torch.optim.Adam(
            [*self.grid.tables, *self.network.parameters()], lr=optim.lr, betas=optim.betas, eps=optim.eps, fused=True
        )
        self.task = task

    def step(self, step: int) -> float:
        """Gives the loss."""
        positions, target = self.task.data.draw(step)
        loss = nn.functional.mse_loss(self(positions.contiguous()), target)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())

    def __call__(self, x: Tensor) -> Tensor:
        return self.network(self.look_up(x))
