"""The four applications as the matrix sees them: prepare data once, train a field of any encoding, render a frame.

Every frame has as many pixels in all four. Data are real where `NEURAL_DATA` has them: a crop of a relief map, the
armadillo, the lego scene; the cloud is generated. `tiny` takes what the repository holds.
"""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from neural import metrics
from neural.scenes.load import load
from neural.scenes.pictures.picture import Picture
from neural.scenes.synthetic.cloud import CloudRecipe, cloud
from neural.scenes.volumes.survey import survey
from neural.scenes.volumes.views import around
from neural.scenes.volumes.voxels import from_arrays
from neural.train.tasks.field.config import FieldConfig
from neural.train.tasks.field.encodings import build_field
from neural.train.tasks.field.run import look_up
from neural.train.tasks.image import config as image_config
from neural.train.tasks.image.data import ImageData
from neural.train.tasks.image.task import ImageTask
from neural.train.tasks.radiance import config as radiance_config
from neural.train.tasks.radiance.run import RadianceRun
from neural.train.tasks.radiance.task import RadianceTask
from neural.train.tasks.radiance.task import build_field as build_radiance_field
from neural.train.tasks.volume import config as volume_config
from neural.train.tasks.volume.run import VolumeRun
from neural.train.tasks.volume.task import VolumeTask
from tests.bench.harness import Size

CITY = Path(__file__).parents[2] / "data" / "city"
CPU = torch.device("cpu")
NOWHERE = Path("nowhere")  # runs are made, but no folder is written
SIDE = {"full": 360, "tiny": 24}  # pixels of a frame along each side; 360^2 is a sixteenth of Full HD


@dataclass(frozen=True)
class Trained:
    """A trained field and what is measured of it.

    Attributes:
        field: With everything that has parameters.
        frame: Renders one frame.
        quality: Scores it, in the application's unit.
        seconds: Wall time of the training.
    """

    field: nn.Module
    frame: Callable[[], Tensor]
    quality: Callable[[], float]
    seconds: float


class Application(ABC):
    """One application with its data.

    Attributes:
        name: In tables.
        n_dims: Of the field's positions.
        unit: Of the quality.
        about: Data, frame and steps in words.
    """

    name: str
    n_dims: int
    unit: str = "dB"
    about: str

    @abstractmethod
    def resolved(self, model: Mapping[str, Any]) -> Any:
        """The configuration of a training with this encoding, nothing left open."""

    @abstractmethod
    def train(self, model: Mapping[str, Any], steps: int) -> Trained:
        """Trains a field with this encoding."""


class ImageApplication(Application):
    """A picture; the frame is a part of it, the quality the PSNR of all of it."""

    name, n_dims = "image", 2

    def __init__(self, size: Size) -> None:
        self.side = SIDE[size]
        edge = 1024 if size == "full" else 48
        path = data_folder() / "images" / "shadedrelief_10800x5400.jpg" if size == "full" else _first_of_city()
        Image.MAX_IMAGE_PIXELS = None  # the map has 58 million, which is no attack
        with Image.open(path) as image:
            left, top = (5000, 1200) if size == "full" else (0, 0)
            pixels = np.asarray(image.convert("RGB").crop((left, top, left + edge, top + edge)))
        self.picture = Picture.from_array(pixels)
        self.about = f"{path.name}, {edge} x {edge} of it; part of {self.side} x {self.side}"

    def resolved(self, model: Mapping[str, Any]) -> image_config.ImageConfig:
        asked = image_config.ImageConfig(model=FieldConfig(**model))
        return image_config.resolve(
            asked, "cpu", width=self.picture.width, height=self.picture.height, linear=self.picture.linear
        )

    def train(self, model: Mapping[str, Any], steps: int) -> Trained:
        config = self.resolved(model)
        data = ImageData(self.picture, config.data, config.run.seed)
        task = ImageTask(build_field(config.model, 2, 3, seed=config.run.seed), data, config, CPU)
        seconds = train_steps(task, steps)
        field = task.averaged_field()
        rows, columns = torch.arange(self.side).repeat_interleave(self.side), torch.arange(self.side).repeat(self.side)
        part, whole = data.positions(rows, columns), self._everywhere(data)
        true = data.rows(0, self.picture.height).reshape(-1, 3)
        return Trained(
            field, lambda: look_up(field, part), lambda: _psnr(look_up(field, whole).clamp(0, 1), true), seconds
        )

    def _everywhere(self, data: ImageData) -> Tensor:
        height, width = self.picture.height, self.picture.width
        return data.positions(torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height))


class VolumeApplication(Application):
    """A cloud, rendered with its shadows; the quality is the PSNR of a picture beside the grid's own."""

    name, n_dims = "volume", 3

    def __init__(self, size: Size) -> None:
        self.side, resolution = SIDE[size], 192 if size == "full" else 16
        grid = cloud(CloudRecipe(resolution=resolution))
        parts = np.ascontiguousarray(grid[..., 0]), np.ascontiguousarray(grid[..., 1:])
        self.voxels = from_arrays(*parts, name="cloud")
        self.survey = survey(self.voxels, 128 if size == "full" else 16)
        coarse = {} if size == "full" else {"steps_per_edge": 16, "shadow_resolution": 8}
        self.view = volume_config.VolumeViewConfig(size=self.side, **coarse)
        self.points = None if size == "full" else 512
        shape = " x ".join(map(str, self.voxels.sizes))
        self.about = f"generated cloud of {shape} voxels; {self.side} x {self.side} pixels, shadows made before"

    def resolved(self, model: Mapping[str, Any]) -> volume_config.VolumeConfig:
        sampling = volume_config.VolumeSamplingConfig(points=self.points)
        asked = volume_config.VolumeConfig(model=FieldConfig(**model), sampling=sampling, view=self.view)
        return volume_config.resolve(asked, "cpu", max(self.voxels.sizes))

    def train(self, model: Mapping[str, Any], steps: int) -> Trained:
        config = self.resolved(model)
        field = build_field(config.model, 3, 4, seed=config.run.seed)
        task = VolumeTask(field, self.voxels, self.survey, config, CPU, lambda medium: torch.zeros(1, 1, 3))
        seconds = train_steps(task, steps)
        run = VolumeRun(NOWHERE, self.voxels, self.survey, config, task.averaged_field())
        camera = around(self.survey.box, 1, self.side, elevations=(20.0, 20.0))

        def quality() -> float:
            return _psnr(run.render_camera(camera).rgb, run.render_camera(camera, truth=True).rgb)

        return Trained(run.field, lambda: run.render_camera(camera).rgb, quality, seconds)


class RadianceApplication(Application):
    """A captured scene; the frame is a held-out view, the quality the PSNR of it beside the photograph."""

    name, n_dims = "radiance", 3

    def __init__(self, size: Size) -> None:
        self.size = size
        whole = load(data_folder() / "lego_400") if size == "full" else load(CITY, downscale=8)
        self.scene = whole
        view = whole.splits["test"][0]
        longest = int(whole.cameras.sizes[view].max())
        self.camera = whole.cameras[[view]].scaled(min(1.0, SIDE[size] / longest))
        photograph = torch.from_numpy(np.array(whole.images[view], dtype=np.uint8))  # type: ignore[index]
        self.view, self.photograph = whole.cameras[[view]], photograph
        width, height = self.camera.sizes[0].tolist()
        self.about = f"{whole.name}, held-out view {view}; {width} x {height}, scored at {longest} pixels"

    def resolved(self, model: Mapping[str, Any]) -> radiance_config.RadianceConfig:
        asked = radiance_config.RadianceConfig(
            model=radiance_config.ModelConfig(**model),
            run=radiance_config.RunConfig(device="cpu", steps=1000),
            sampling=radiance_config.SamplingConfig(path="unfused"),  # stages are told apart by their kernels
        )
        if self.size == "tiny":
            asked = replace(asked, sampling=radiance_config.SamplingConfig(
                path="unfused", target_samples=1024, initial_rays=64, occupancy_resolution=32,
                steps_per_box=64))  # fmt: skip
        return radiance_config.resolve(asked, "cpu", unbounded=self.scene.unbounded, background=self.scene.background)

    def train(self, model: Mapping[str, Any], steps: int) -> Trained:
        config = self.resolved(model)
        config = replace(config, run=replace(config.run, steps=steps))
        task = RadianceTask(build_radiance_field(config, self.scene), self.scene, config, CPU)
        seconds = train_steps(task, steps)
        run = RadianceRun(NOWHERE, self.scene, config, task.averaged_field(), task.occupancy, task.marching)

        def quality() -> float:
            return _psnr(run.render_camera(self.view).rgb, _on(self.photograph, config.run.background))

        return Trained(run.field, lambda: run.render_camera(self.camera).rgb, quality, seconds)


def train_steps(task: Any, steps: int) -> float:
    """Trains; gives seconds."""
    start = time.perf_counter()
    for step in range(steps):
        task.step(step, steps)
    return time.perf_counter() - start


def _psnr(shown: Tensor, true: Tensor) -> float:
    """Of pixels in any arrangement."""
    return metrics.psnr(shown.reshape(1, -1, 3), true.reshape(1, -1, 3))


def _on(photograph: Tensor, background: str) -> Tensor:
    """sRGB of a photograph on its background."""
    values = photograph.float() / 255
    if values.shape[2] == 3:
        return values
    return values[..., :3] * values[..., 3:] + (1 - values[..., 3:]) * (1.0 if background == "white" else 0.0)


def data_folder() -> Path:
    return Path(os.environ["NEURAL_DATA"])


def _first_of_city() -> Path:
    return sorted((CITY / "images").iterdir())[0]
