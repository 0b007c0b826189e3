"""Runs of fields for tests of the viewer, whose fields are exact: a ball, a grid of voxels, a picture."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from neural.scenes import solid as solids
from neural.scenes.pictures.picture import Picture
from neural.scenes.volumes.survey import survey
from neural.scenes.volumes.voxels import Voxels, from_arrays
from neural.train.config import BaseRunConfig
from neural.train.tasks.image.config import ImageConfig
from neural.train.tasks.image.config import resolve as resolve_image
from neural.train.tasks.image.data import ImageData
from neural.train.tasks.image.run import ImageRun
from neural.train.tasks.sdf.config import SdfConfig
from neural.train.tasks.sdf.config import resolve as resolve_sdf
from neural.train.tasks.sdf.run import SdfRun
from neural.train.tasks.volume.config import VolumeConfig, VolumeSamplingConfig, VolumeViewConfig
from neural.train.tasks.volume.config import resolve as resolve_volume
from neural.train.tasks.volume.run import VolumeRun
from tests.shapes import icosphere

RUN = BaseRunConfig(steps=1, device="cpu")
CENTRE, RADIUS = np.array([1000.0, -40.0, 7.0]), 50.0  # of the ball, in its own frame
SIDES = 90, 60  # of the picture


class Exact(nn.Module):
    """A field that is a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, points: Tensor) -> Tensor:
        return self.function(points)


def ball_run(subdivisions: int = 4) -> SdfRun:
    """A ball far from the origin; its field is the distance to a true sphere."""
    solid = solids.build(icosphere(subdivisions, RADIUS, CENTRE), "ball")
    field = Exact(lambda x: (x - 0.5).norm(dim=1, keepdim=True) - RADIUS / solid.side)
    return SdfRun(Path(), solid, resolve_sdf(SdfConfig(run=RUN), "cpu"), field)


def cloud() -> Voxels:
    """A dense block in two colours, off the middle of its grid."""
    density = np.zeros((24, 24, 16), np.float32)
    density[4:16, 6:18, 4:12] = 60.0
    albedo = np.full((24, 24, 16, 3), 0.9, np.float32)
    albedo[10:, ..., 1:] = 0.2
    return from_arrays(density, albedo, name="block")


def cloud_run() -> VolumeRun:
    """The block; its field is the grid itself."""
    voxels = cloud()
    config = VolumeConfig(
        sampling=VolumeSamplingConfig(occupancy_resolution=32), run=RUN,
        view=VolumeViewConfig(size=48, steps_per_edge=96, shadow_resolution=96),
    )  # fmt: skip
    seen = survey(voxels, 32)

    def field(x: Tensor) -> Tensor:
        values = voxels.sample(x).t().clone()
        values[0] /= seen.densest
        return values.t()

    return VolumeRun(Path(), voxels, seen, resolve_volume(config, "cpu", 24), Exact(field))


def stripes() -> np.ndarray:
    """A picture with a different colour at each pixel."""
    y, x = np.mgrid[: SIDES[1], : SIDES[0]]
    return np.stack([x * 2.8, y * 4.2, 255 * ((x + y) % 2)], -1).astype(np.uint8)


def picture_run(pixels: np.ndarray | None = None) -> ImageRun:
    """A picture; its field has each pixel's colour all over it."""
    picture = Picture.from_array(stripes() if pixels is None else pixels)
    config = resolve_image(
        ImageConfig(run=RUN), "cpu", width=picture.width, height=picture.height, linear=picture.linear
    )
    data = ImageData(picture, config.data, 0)

    def field(x: Tensor) -> Tensor:
        columns, rows = (x * data.side).long().numpy().T
        return data.values(picture.gather(rows, columns))

    return ImageRun(Path(), config, Exact(field), data)
