"""One training step of a signed distance field."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from neural.encodings.base import Tabled
from neural.losses import steady_mean
from neural.mlp import MLP
from neural.scenes.mesh_distance import MeshDistance
from neural.train.tasks.field.run import look_up
from neural.train.tasks.field.task import FieldTask, Fit
from neural.train.tasks.sdf.config import SdfConfig
from neural.train.tasks.sdf.samples import Samples

HELD_OUT = 1 << 15  # points anywhere, and again near the surface


class SdfTask(FieldTask):
    """Trains a field on the distances to a mesh; see `neural.train.loop.Task`.

    Args:
        field: On the CPU; moved to `device`.
        distance: To the mesh.
        config: Resolved.
        device: Where to train.
    """

    def __init__(self, field: nn.Module, distance: MeshDistance, config: SdfConfig, device: torch.device) -> None:
        super().__init__(field, config, device)
        self.samples = Samples(distance, config.sampling, config.run.seed)
        self._held_out: tuple[Tensor, Tensor] | None = None

    def fit(self, step: int) -> Fit:
        """See `FieldTask`."""
        points, distances, n_surface = self.samples.draw(step)
        points, distances = points.to(self.device), distances.to(self.device)
        error = self.at(points)[:, 0] - distances
        extra = {}
        if self.config.optim.eikonal > 0:
            extra["eikonal"] = self._eikonal(points[n_surface:])
        return Fit(self._loss(error, distances), len(points), extra=extra)

    @torch.no_grad()
    def validate(self, step: int) -> Mapping[str, float]:
        """IoU of points anywhere and mean absolute error near the surface, at points that no step sees."""
        if self._held_out is None:
            self._held_out = self.samples.held_out(HELD_OUT)
        points, distances = self._held_out
        found = look_up(self.averaged_field(), points)[:, 0]
        anywhere = slice(0, HELD_OUT)
        in_field, in_mesh = found[anywhere] < 0, distances[anywhere] < 0
        both, either = in_field & in_mesh, in_field | in_mesh
        mae = float((found[HELD_OUT:] - distances[HELD_OUT:]).abs().double().mean())
        return {"test_iou": int(both.sum()) / max(int(either.sum()), 1), "test_mae": mae}

    def _loss(self, error: Tensor, distances: Tensor) -> Tensor:
        optim = self.config.optim
        if optim.loss == "l2":
            return steady_mean(error.square())
        if optim.loss == "l1":
            return steady_mean(error.abs())
        return steady_mean(error.abs() / (distances.abs() + optim.mape_floor))

    def _eikonal(self, points: Tensor) -> float:
        """Adds the gradient of the weighted eikonal term to that of the step; gives the term.

        Source: Gropp et al. 2020, arXiv:2002.10099, eq. 2.
        """
        at = points.detach().requires_grad_()
        with _plain_gradients(self.field) as buffered:
            values = self.field(at)[:, 0]
            (slope,) = torch.autograd.grad(values.sum(), at, create_graph=True)
            length = (slope.square().sum(1) + 1e-12).sqrt()  # a slope of 0 has no direction to grow in
            term = steady_mean((length - 1).square())
            (self.config.optim.eikonal * term).backward()
        for parameter, buffer in buffered:
            if parameter.grad is not None:
                buffer.add(parameter.grad)
                parameter.grad = None
        return float(term.detach())


@contextmanager
def _plain_gradients(field: nn.Module) -> Iterator[list[tuple[nn.Parameter, Any]]]:
    """Lets gradients of gradients go to `.grad`, where autograd can follow them; gives (parameter, its buffer)."""
    owners: list[tuple[Any, nn.Parameter]] = []
    for module in field.modules():
        if isinstance(module, Tabled):
            owners.append((module, module.table))
        elif isinstance(module, MLP):
            owners.append((module, module.params))
    buffers = [owner.gradients for owner, _ in owners]
    for owner, _ in owners:
        owner.gradients = None
    try:
        yield [(parameter, buffer) for (_, parameter), buffer in zip(owners, buffers, strict=True)]
    finally:
        for (owner, _), buffer in zip(owners, buffers, strict=True):
            owner.gradients = buffer
