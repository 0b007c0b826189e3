"""Writes a city as a capture: pictures, `transforms.json`, and on request exact maps and the layout.

images/<name>.png     sRGB with straight alpha; alpha 0 is sky
transforms.json       nerfstudio's form: OpenGL c2w (x right, y up, z back), one pinhole, named splits,
                      `aabb` [[x, y, z], [x, y, z]] in the file's world (metres), `axes`, `synthetic`: the recipe
maps/<name>.npz       depth, distance, normal, class_id, instance_id; see `render.Maps`
layout.json, .npz     see `layout.Layout`
"""

import json
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from PIL import Image
from tqdm import tqdm

from neural.scenes.synthetic import render, rigs
from neural.scenes.synthetic.city import City
from neural.scenes.synthetic.layout import Layout
from neural.scenes.synthetic.light import Daylight
from neural.scenes.synthetic.rigs import Rig
from neural.scenes.synthetic.streets import CityConfig

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Turns OpenCV camera axes into OpenGL ones and back: c2w @ OPENGL. Exact: it only flips signs."""


_DEMO_CITY = CityConfig(seed=149, blocks=(2, 2), tallest=44.0, pitch=(46.0, 60.0))
_DEMO_LIGHT = Daylight()


@dataclass(frozen=True)
class Recipe:
    """Everything a capture follows from; its defaults are the scene of the demo in `data/city`.

    Args:
        city: The plan.
        light: The day.
        orbit: Cameras on rings around the city; 0 for none.
        elevations: Degrees above the horizon of the rings.
        margin: Factor on the distance at which the city just fits the picture.
        drone: Metres between the stops of a survey flight; 0 for none.
        altitude: Height of that flight, metres.
        tilt: Degrees of the oblique cameras from straight down; 0 leaves only those that look straight down.
        street: Metres between the stops of a walk along the streets; 0 for none.
        size: Width and height of the pictures.
        fov: Horizontal field of view in degrees.
        samples: Rays per pixel along each axis.
        test_every: Every so many-th picture is held out.
        maps: Also write exact maps of every picture.
        layout: Also write the layout, with maps of so many metres per cell; 0 for none.
    """

    city: CityConfig = _DEMO_CITY
    light: Daylight = _DEMO_LIGHT
    orbit: int = 44
    elevations: tuple[float, ...] = (24.0, 42.0, 62.0)
    margin: float = 0.92
    drone: float = 45.0
    altitude: float = 62.0
    tilt: float = 42.0
    street: float = 0.0
    size: tuple[int, int] = (256, 192)
    fov: float = 50.0
    samples: int = 4
    test_every: int = 8
    maps: bool = False
    layout: float = 0.0

    def __post_init__(self) -> None:
        if self.test_every < 2:
            raise ValueError(f"test_every must be at least 2, got {self.test_every}")
        if min(self.size) < 8:
            raise ValueError(f"size must be at least 8 x 8 pixels, got {self.size}")
        if self.orbit <= 0 and self.drone <= 0.0 and self.street <= 0.0:
            raise ValueError("no cameras: set orbit, drone or street")

    @staticmethod
    def from_json(entry: dict[str, Any]) -> "Recipe":
        """The recipe stored under `synthetic` in a transforms.json."""
        values = _tuples(entry)
        values["city"], values["light"] = (
            CityConfig(**_tuples(entry["city"])),
            Daylight(**_tuples(entry["light"])),
        )
        return Recipe(**values)

    def rig(self, city: City) -> tuple[Rig, list[str]]:
        """All cameras, and a name for each."""
        width, height = self.size
        camera: dict[str, Any] = {"width": width, "height": height, "fov": self.fov}
        parts: list[tuple[str, Rig]] = []
        if self.orbit > 0:
            ring = rigs.orbit(city, self.orbit, elevations=self.elevations, margin=self.margin, **camera)
            parts.append(("orbit", ring))
        if self.drone > 0.0:
            parts.append(("drone", rigs.drone_grid(city, self.drone, self.altitude, tilt=self.tilt, **camera)))
        if self.street > 0.0:
            parts.append(("street", rigs.street(city, self.street, **camera)))
        names = [f"{label}_{k:03d}" for label, part in parts for k in range(len(part))]
        rig = parts[0][1]
        for _, part in parts[1:]:
            rig = rig + part
        return rig, names


def write(recipe: Recipe, folder: Path, *, overwrite: bool = False) -> None:
    """Render a capture into `folder`; it appears only when it is complete.

    Raises:
        FileExistsError: The folder exists and `overwrite` is False.
    """
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} exists; choose another folder or pass overwrite")
    temporary = folder.with_name(folder.name + ".tmp")
    if temporary.exists():
        shutil.rmtree(temporary)
    (temporary / "images").mkdir(parents=True)
    city = City(recipe.city, recipe.light)
    rig, names = recipe.rig(city)
    for index, name in enumerate(tqdm(names, desc="rendering", unit="image")):
        picture = render.image(city, rig, index, samples=recipe.samples)
        Image.fromarray(picture).save(temporary / "images" / f"{name}.png", optimize=True)
        if recipe.maps:
            (temporary / "maps").mkdir(exist_ok=True)
            found = render.maps(city, rig, index)
            arrays: dict[str, Any] = {entry.name: getattr(found, entry.name) for entry in fields(found)}
            np.savez_compressed(temporary / "maps" / f"{name}.npz", **arrays)
    if recipe.layout > 0.0:
        Layout.of(city, recipe.layout).save(temporary)
    text = json.dumps(transforms(recipe, city, rig, names), indent=1)
    (temporary / "transforms.json").write_text(text + "\n")
    if folder.exists():
        shutil.rmtree(folder)
    temporary.replace(folder)


def transforms(recipe: Recipe, city: City, rig: Rig, names: list[str]) -> dict[str, Any]:
    """The content of transforms.json."""
    paths = [f"images/{name}.png" for name in names]
    frames = []
    for path, name, c2w in zip(paths, names, rig.c2w, strict=True):
        frame: dict[str, Any] = {"file_path": path, "transform_matrix": to_opengl(c2w).tolist()}
        if recipe.maps:
            frame["maps_file_path"] = f"maps/{name}.npz"
        frames.append(frame)
    held_out = set(paths[recipe.test_every // 2 :: recipe.test_every])
    return {
        "camera_model": "OPENCV",
        "fl_x": rig.fx,
        "fl_y": rig.fy,
        "cx": rig.cx,
        "cy": rig.cy,
        "w": rig.width,
        "h": rig.height,
        "aabb": city.aabb.tolist(),
        "axes": "RFU",  # east, north, up
        "train_filenames": [path for path in paths if path not in held_out],
        "test_filenames": [path for path in paths if path in held_out],
        "synthetic": asdict(recipe),
        "frames": frames,
    }


def to_opengl(c2w: Float64[np.ndarray, "*C 4 4"]) -> Float64[np.ndarray, "*C 4 4"]:
    """OpenCV camera axes to OpenGL ones, or back."""
    return c2w @ OPENGL + 0.0  # + 0.0: no negative zeros in the file


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
