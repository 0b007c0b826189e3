"""The layout of a city: every object with its oriented box, and maps of the ground seen from above.

On disk: `layout.json` (classes, objects; for people and other tools) and `layout.npz` (the maps).
Maps are indexed [row, column]: row 0 is the southern edge, column 0 the western one; the centre of cell
(r, c) lies at origin + ((c + 0.5), (r + 0.5)) * resolution.
"""

import json
import zipfile
import zlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from neural.errors import SceneFormatError
from neural.scenes.synthetic import classes
from neural.scenes.synthetic.primitives import Instance
from neural.scenes.synthetic.trace import Tracer

if TYPE_CHECKING:
    from neural.scenes.synthetic.city import City

FORMAT = 1
_MAX_CELLS = 1 << 28
_STORED = {
    # array of layout.npz: (type, number of axes)
    "origin": ("float64", 1),
    "resolution": ("float64", 0),
    "class_id": ("uint8", 2),
    "instance_id": ("int64", 2),
    "height": ("float32", 2),
    "footprint_id": ("int64", 2),
    "building_height": ("float32", 2),
}


@dataclass(frozen=True)
class GroundMaps:
    """Maps from above. Metres; ids as in `Layout.instances`, 0 where there is no object."""

    origin: tuple[float, float]
    """World x, y of the south-western corner."""
    resolution: float
    """Edge of a cell, metres."""
    class_id: UInt8[np.ndarray, "H W"]
    """Class of the topmost surface; see `classes`."""
    instance_id: Int64[np.ndarray, "H W"]
    """Object of the topmost surface."""
    height: Float32[np.ndarray, "H W"]
    """z of the topmost surface."""
    footprint_id: Int64[np.ndarray, "H W"]
    """The building on this spot, even under a tree; 0 for none."""
    building_height: Float32[np.ndarray, "H W"]
    """z of that building's top; 0 for none."""


@dataclass(frozen=True)
class Layout:
    """Objects and maps of one city."""

    instances: tuple[Instance, ...]
    maps: GroundMaps

    @staticmethod
    def of(city: "City", resolution: float = 0.5) -> "Layout":
        """The layout of a city; maps by rays straight down through the centres of the cells.

        Args:
            resolution: Edge of a map cell in metres; the map holds whole cells from the south-western corner.
        """
        x0, x1, y0, y1 = city.ground
        width, height = (max(1, int((high - low) / resolution)) for low, high in ((x0, x1), (y0, y1)))
        if width * height > _MAX_CELLS:
            raise ValueError(f"Layout.of: {width} x {height} cells are too many; raise resolution above {resolution}")
        y, x = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
        top = city.tracer.high[2] + 1.0
        origins = np.stack([x0 + resolution * x, y0 + resolution * y, np.full_like(x, top)], -1).reshape(-1, 3)
        down = np.broadcast_to([0.0, 0.0, -1.0], origins.shape)
        seen = city.cast(origins, down, colour=False)
        shape = (height, width)
        footprint, roof = np.zeros(len(origins), np.int64), np.zeros(len(origins), np.float32)
        buildings = city.solids[city.solids.owner_class == classes.FACADE]
        if len(buildings):
            t, rows = Tracer(buildings).nearest(origins, down)
            on = rows >= 0
            footprint[on], roof[on] = buildings.instance[rows[on]], top - t[on]
        maps = GroundMaps(
            origin=(x0, y0),
            resolution=float(resolution),
            class_id=seen.class_id.reshape(shape).astype(np.uint8),
            instance_id=seen.instance_id.reshape(shape),
            height=(top - seen.t).reshape(shape).astype(np.float32),
            footprint_id=footprint.reshape(shape),
            building_height=roof.reshape(shape),
        )
        return Layout(tuple(city.instances), maps)

    def save(self, folder: Path) -> None:
        """Write `layout.json` and `layout.npz` into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        text = {
            "format": FORMAT,
            "units": "metres; x east, y north, z up; yaw in radians about z",
            "classes": list(classes.CLASS_NAMES),
            "instances": [asdict(instance) for instance in self.instances],
        }
        temporary = folder / "layout.json.tmp"
        temporary.write_text(json.dumps(text, indent=None, separators=(",", ":")) + "\n")
        temporary.replace(folder / "layout.json")
        temporary = folder / "layout.tmp.npz"
        maps: dict[str, Any] = {f.name: np.asarray(getattr(self.maps, f.name)) for f in fields(self.maps)}
        np.savez_compressed(temporary, **maps)
        temporary.replace(folder / "layout.npz")

    @staticmethod
    def load(folder: Path) -> "Layout":
        """Read what `save` wrote.

        Raises:
            SceneFormatError: A file is missing, of another format or lacks a field.
        """
        path = folder / "layout.json"
        try:
            text = json.loads(path.read_text())
            if text["format"] != FORMAT:
                raise SceneFormatError(path, f"format {FORMAT} expected, got {text['format']}; write the layout anew")
            instances = tuple(_instance(entry) for entry in text["instances"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SceneFormatError(path, f"not a layout ({error}); write it anew with Layout.save") from error
        path = folder / "layout.npz"
        try:
            _check_headers(path)
            with np.load(path, allow_pickle=False) as stored:
                arrays = {field.name: stored[field.name] for field in fields(GroundMaps)}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise SceneFormatError(path, f"not a layout's maps ({error}); write them with Layout.save") from error
        origin, resolution = arrays.pop("origin"), arrays.pop("resolution")
        return Layout(instances, GroundMaps((float(origin[0]), float(origin[1])), float(resolution), **arrays))


def _instance(entry: dict[str, Any]) -> Instance:
    """An object as read, checked."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    instance = Instance(**values)
    box = [*instance.centre, *instance.half, instance.yaw]
    if len(box) != 7 or not np.isfinite(box).all() or min(instance.half) < 0.0:
        raise ValueError(f"object {instance.id}: centre, half and yaw must be finite, 3 + 3 + 1 numbers, half >= 0")
    if not 0 < instance.class_id < len(classes.CLASS_NAMES):
        raise ValueError(f"object {instance.id}: class_id {instance.class_id} is no class")
    return instance


def _check_headers(path: Path) -> None:
    """Refuse maps of the wrong type or an absurd or uneven shape before anything is allocated."""
    shapes = set()
    with zipfile.ZipFile(path) as archive:
        for name, (dtype, dims) in _STORED.items():
            with archive.open(f"{name}.npy") as member:
                version = np.lib.format.read_magic(member)
                if version != (1, 0):
                    raise ValueError(f"{name}: npy version 1.0 expected, got {version}")
                shape, _, found = np.lib.format.read_array_header_1_0(member)
            if found != np.dtype(dtype) or len(shape) != dims or (dims == 1 and shape != (2,)):
                raise ValueError(f"{name}: {dims}-d {dtype} expected, got {found} {shape}")
            if dims == 2:
                shapes.add(shape)
    if len(shapes) != 1:
        raise ValueError(f"maps of one shape expected, got {sorted(shapes)}")
    height, width = shapes.pop()
    if not 0 < height * width <= _MAX_CELLS:
        raise ValueError(f"1 to {_MAX_CELLS} cells expected, got {height} x {width}")
