"""The signed distance of a mesh as the matrix sees it; a module of its own because it needs Open3D."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from neural import evaluate_sdf
from neural.scenes import solid as solids
from neural.scenes.files import mesh as meshes
from neural.scenes.mesh_distance import MeshDistance, inside_of_grid
from neural.train.tasks.field.config import FieldConfig
from neural.train.tasks.field.encodings import build_field
from neural.train.tasks.sdf import config as sdf_config
from neural.train.tasks.sdf import pictures as sdf_pictures
from neural.train.tasks.sdf.run import SdfRun
from neural.train.tasks.sdf.task import SdfTask
from tests.bench.application_tasks import CPU, NOWHERE, SIDE, Application, Trained, data_folder, train_steps
from tests.bench.harness import Size


class SdfApplication(Application):
    """A mesh, sphere-traced; the quality is the IoU of the insides on a grid."""

    name, n_dims, unit = "sdf", 3, "IoU"

    def __init__(self, size: Size) -> None:
        self.side, self.resolution = SIDE[size], 128 if size == "full" else 16
        self.size = size
        if size == "full":
            path = data_folder() / "meshes" / "armadillo.obj"
            mesh, name = meshes.read(path), path.name
        else:
            mesh, name = _octahedron(), "octahedron"
        self.solid = solids.build(mesh, name)
        self.distance = MeshDistance(self.solid, "auto")
        self.inside = inside_of_grid(self.distance, self.resolution)
        self.about = f"{name}, {len(self.solid.faces):,} faces; {self.side} x {self.side}, IoU on {self.resolution}^3"

    def resolved(self, model: Mapping[str, Any]) -> sdf_config.SdfConfig:
        asked = sdf_config.SdfConfig(model=FieldConfig(**model))
        if self.size == "tiny":
            asked = replace(asked, sampling=sdf_config.SdfSamplingConfig(batch_size=256, shard_size=512))
        return sdf_config.resolve(asked, "cpu")

    def train(self, model: Mapping[str, Any], steps: int) -> Trained:
        config = self.resolved(model)
        task = SdfTask(build_field(config.model, 3, 1, seed=config.run.seed), self.distance, config, CPU)
        seconds = train_steps(task, steps)
        run = SdfRun(NOWHERE, self.solid, config, task.averaged_field())
        cameras = sdf_pictures.turntable(self.solid, 1, self.side)
        return Trained(
            run.field, lambda: run.picture(cameras),
            lambda: evaluate_sdf.overlap(run.distance, self.inside, progress=False), seconds,
        )  # fmt: skip


def _octahedron() -> meshes.Mesh:
    corners = np.concatenate([np.eye(3), -np.eye(3)])
    faces = [
        [x, y, z] if (x < 3) == ((y < 3) == (z < 3)) else [x, z, y] for x in (0, 3) for y in (1, 4) for z in (2, 5)
    ]
    return meshes.Mesh(corners, np.full((6, 3), 128, np.uint8), np.array(faces))
