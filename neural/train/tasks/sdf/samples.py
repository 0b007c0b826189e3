"""The points that a training of a signed distance looks at, with their exact distances.

Points on the surface cost nothing to know and are drawn anew in each step. Distances of other points are exact and
therefore dear (some microseconds each, tens far from the mesh), so they are asked for in shards while the training goes
on, and a step draws from all shards that there are by then. All of it is a function of (seed, step): a resumed run
asks for the shards of its step again.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural.scenes.files.mesh import areas
from neural.scenes.mesh_distance import MeshDistance
from neural.train.draws import step_generator
from neural.train.tasks.sdf.config import SdfSamplingConfig

SURFACE_STREAM, POOL_STREAM, SHARD_STREAM, VALIDATION_STREAM = 0, 1, 2, 3


class SurfacePoints:
    """Draws points of a mesh in the unit cube, uniformly by area."""

    def __init__(self, distance: MeshDistance) -> None:
        solid = distance.solid
        corners = solid.corners()
        self._first = corners[:, 0].astype(np.float32)
        self._sides = (corners[:, 1:] - corners[:, :1]).astype(np.float32)
        sums = np.cumsum(areas(solid.to_unit(solid.vertices), solid.faces))
        self._shares = sums / sums[-1]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self._normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)

    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "N 3"]:
        """`n` points, one in each of `n` parts of equal area."""
        return self.draw_with_normals(n, generator)[0]

    def draw_with_normals(
        self, n: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3"]]:
        """As `draw`, and the outward normals of their faces."""
        u, v, where = torch.rand(3, n, generator=generator, dtype=torch.float64).numpy()
        faces = np.searchsorted(self._shares, (np.arange(n) + where) / n).clip(max=len(self._shares) - 1)
        beyond = u + v > 1
        u, v = np.where(beyond, 1 - u, u), np.where(beyond, 1 - v, v)
        along = np.stack([u, v], axis=1).astype(np.float32)[:, :, None]
        points = self._first[faces] + (along * self._sides[faces]).sum(1)
        return torch.from_numpy(points), torch.from_numpy(self._normals[faces])


class Samples:
    """Points in the unit cube with their distances, for each step of a training.

    Args:
        distance: To the mesh.
        config: Resolved.
        seed: Of all draws.
    """

    def __init__(self, distance: MeshDistance, config: SdfSamplingConfig, seed: int) -> None:
        assert config.batch_size is not None, "the configuration is not resolved"
        self.surface = SurfacePoints(distance)
        self._distance, self._config, self._seed = distance, config, seed
        self._n_surface = round(config.batch_size * config.surface_share)
        self._n_near = round(config.batch_size * config.near_share)
        self._n_anywhere = max(1, config.batch_size - self._n_surface - self._n_near)
        near_of_off = config.near_share / (1 - config.surface_share)
        self._near_per_shard = min(config.shard_size - 1, round(config.shard_size * near_of_off))
        self._anywhere_per_shard = config.shard_size - self._near_per_shard
        self._near = torch.empty(config.shards * self._near_per_shard, 4)
        self._anywhere = torch.empty(config.shards * self._anywhere_per_shard, 4)
        self._known = 0  # shards

    def draw(self, step: int) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N"], int]:
        """Points of a step, their distances, and how many of them, the first ones, are on the surface."""
        shards = min(1 + step // self._config.shard_steps, self._config.shards)
        for shard in range(self._known, shards):
            self._ask(shard)
        self._known = max(self._known, shards)
        on = self.surface.draw(self._n_surface, step_generator(self._seed, step, SURFACE_STREAM))
        generator = step_generator(self._seed, step, POOL_STREAM)
        off = []
        for pool, per_shard, n in (
            (self._near, self._near_per_shard, self._n_near),
            (self._anywhere, self._anywhere_per_shard, self._n_anywhere),
        ):
            if n and per_shard:
                off.append(pool[torch.randint(shards * per_shard, (n,), generator=generator)])
        points = torch.cat([on, *(part[:, :3] for part in off)])
        distances = torch.cat([on.new_zeros(len(on)), *(part[:, 3] for part in off)])
        return points, distances, len(on)

    def held_out(self, n: int) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N"]]:
        """`n` points anywhere and `n` near the surface that no step sees, and their distances."""
        generator = step_generator(self._seed, 0, VALIDATION_STREAM)
        points = torch.cat([torch.rand(n, 3, generator=generator), self._beside(n, generator)])
        return points, torch.from_numpy(self._distance.signed(points.numpy()))

    def _ask(self, shard: int) -> None:
        """Fills in one shard."""
        generator = step_generator(self._seed, shard, SHARD_STREAM)
        near = self._beside(self._near_per_shard, generator)
        anywhere = torch.rand(self._anywhere_per_shard, 3, generator=generator)
        for pool, points in ((self._near, near), (self._anywhere, anywhere)):
            rows = pool[shard * len(points) : (shard + 1) * len(points)]
            rows[:, :3] = points
            rows[:, 3] = torch.from_numpy(self._distance.signed(points.numpy()))

    def _beside(self, n: int, generator: torch.Generator) -> Float[Tensor, "N 3"]:
        """Points of the surface, moved a little; all in the unit cube."""
        if n == 0:
            return torch.empty(0, 3)
        moved = self.surface.draw(n, generator)
        return (moved + self._config.near_sigma * torch.randn(n, 3, generator=generator)).clamp(0, 1)
