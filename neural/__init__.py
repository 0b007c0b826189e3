"""Neural graphics and 3D scene reconstruction.

Names are loaded on first use (PEP 562), so `import neural` costs nothing beyond this file.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> module that defines it
_NAMES = {
    "NeuralError": "neural.errors",
    "SceneFormatError": "neural.errors",
    "BackendUnavailable": "neural.errors",
    "CheckpointError": "neural.errors",
    "DivergenceError": "neural.errors",
    "Cameras": "neural.cameras",
    "Rays": "neural.rays",
    "Scene": "neural.scenes.scene",
    "load": "neural.scenes.load",
    "Picture": "neural.scenes.pictures.picture",
    "open_picture": "neural.scenes.pictures.picture",
    "HashGrid": "neural.encodings.hash_grid",
    "ScalableHashGrid": "neural.encodings.scalable_hash_grid",
    "DenseGrid": "neural.encodings.dense_grid",
    "TiledGrid": "neural.encodings.dense_grid",
    "MetricGrids": "neural.encodings.metric_grids",
    "SphericalHarmonics": "neural.encodings.spherical_harmonics",
    "Frequency": "neural.encodings.frequency",
    "Simplex": "neural.encodings.simplex",
    "Permutohedral": "neural.encodings.simplex",
    "AntiAliased": "neural.encodings.anti_aliasing",
    "ProbedHashGrid": "neural.encodings.probed_grid",
    "TriangleWave": "neural.encodings.triangle_wave",
    "OneBlob": "neural.encodings.one_blob",
    "Composite": "neural.encodings.composite",
    "Identity": "neural.encodings.identity",
    "MLP": "neural.mlp",
    "Gaussians": "neural.gaussians.model",
    "RadianceField": "neural.fields.radiance",
    "MetricField": "neural.fields.metric",
    "OccupancyGrid": "neural.render.occupancy",
    "Field": "neural.fields.field",
    "ImageConfig": "neural.train.tasks.image.config",
    "ImageRun": "neural.train.tasks.image.run",
    "RadianceConfig": "neural.train.tasks.radiance.config",
    "RadianceRun": "neural.train.tasks.radiance.run",
    "SdfConfig": "neural.train.tasks.sdf.config",
    "SdfRun": "neural.train.tasks.sdf.run",
    "SplatsConfig": "neural.train.tasks.splats.config",
    "SplatRun": "neural.train.tasks.splats.run",
    "VolumeConfig": "neural.train.tasks.volume.config",
    "VolumeRun": "neural.train.tasks.volume.run",
    "load_run": "neural.train.load",
    "reconstruct": "neural.reconstruction",
}
# public submodules, reached as attributes
_MODULES = ("cameras", "edit", "emulator", "losses", "metrics", "optim", "paths", "rays", "train")

if TYPE_CHECKING:
    from neural import edit as edit
    from neural import emulator as emulator
    from neural import train as train
    from neural.cameras import Cameras as Cameras
    from neural.encodings.anti_aliasing import AntiAliased as AntiAliased
    from neural.encodings.composite import Composite as Composite
    from neural.encodings.dense_grid import DenseGrid as DenseGrid
    from neural.encodings.dense_grid import TiledGrid as TiledGrid
    from neural.encodings.frequency import Frequency as Frequency
    from neural.encodings.hash_grid import HashGrid as HashGrid
    from neural.encodings.identity import Identity as Identity
    from neural.encodings.metric_grids import MetricGrids as MetricGrids
    from neural.encodings.one_blob import OneBlob as OneBlob
    from neural.encodings.probed_grid import ProbedHashGrid as ProbedHashGrid
    from neural.encodings.scalable_hash_grid import ScalableHashGrid as ScalableHashGrid
    from neural.encodings.simplex import Permutohedral as Permutohedral
    from neural.encodings.simplex import Simplex as Simplex
    from neural.encodings.spherical_harmonics import SphericalHarmonics as SphericalHarmonics
    from neural.encodings.triangle_wave import TriangleWave as TriangleWave
    from neural.errors import BackendUnavailable as BackendUnavailable
    from neural.errors import CheckpointError as CheckpointError
    from neural.errors import DivergenceError as DivergenceError
    from neural.errors import NeuralError as NeuralError
    from neural.errors import SceneFormatError as SceneFormatError
    from neural.fields.field import Field as Field
    from neural.fields.metric import MetricField as MetricField
    from neural.fields.radiance import RadianceField as RadianceField
    from neural.gaussians.model import Gaussians as Gaussians
    from neural.mlp import MLP as MLP
    from neural.rays import Rays as Rays
    from neural.reconstruction import reconstruct as reconstruct
    from neural.render.occupancy import OccupancyGrid as OccupancyGrid
    from neural.scenes.load import load as load
    from neural.scenes.pictures.picture import Picture as Picture
    from neural.scenes.pictures.picture import open_picture as open_picture
    from neural.scenes.scene import Scene as Scene
    from neural.train.load import load_run as load_run
    from neural.train.tasks.image.config import ImageConfig as ImageConfig
    from neural.train.tasks.image.run import ImageRun as ImageRun
    from neural.train.tasks.radiance.config import RadianceConfig as RadianceConfig
    from neural.train.tasks.radiance.run import RadianceRun as RadianceRun
    from neural.train.tasks.sdf.config import SdfConfig as SdfConfig
    from neural.train.tasks.sdf.run import SdfRun as SdfRun
    from neural.train.tasks.splats.config import SplatsConfig as SplatsConfig
    from neural.train.tasks.splats.run import SplatRun as SplatRun
    from neural.train.tasks.volume.config import VolumeConfig as VolumeConfig
    from neural.train.tasks.volume.run import VolumeRun as VolumeRun


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"neural.{name}")
    raise AttributeError(f"module 'neural' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_NAMES, *_MODULES, "__version__"])
