"""transforms.json in its nerfstudio, instant-ngp and Blender forms.

All three give c2w matrices with OpenGL axes (x right, y up, z back) in `transform_matrix`; they differ in
where the lens stands and in what else they say. One file holds all frames (`transforms.json`), or Blender's
three files hold a split each. Data sets that write it otherwise are translated first (`scannetpp`, `matrixcity`).
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from neural.cameras import Cameras
from neural.errors import SceneFormatError
from neural.scenes.capture import Capture, Points, keep_existing, resolve
from neural.scenes.files import ply
from neural.scenes.files.gaussians.axes import NAMES, is_mirror
from neural.scenes.formats import matrixcity, scannetpp
from neural.scenes.formats.fields import as_float, read_json
from neural.scenes.formats.tracks import observations
from neural.scenes.formats.transforms_frames import cameras_of, frames_of

SPLIT_FILES = {split: f"transforms_{split}.json" for split in ("train", "val", "test")}
_NGP_SCALE = 0.33  # instant-ngp's default: its unit cube is 1 / 0.33 file units wide


def found_in(path: Path) -> tuple[Path, ...]:
    """The file, if `path` is any JSON file or a folder that holds one of these names; of Blender's three, one."""
    if path.is_file():
        return (path,) if path.suffix.lower() == ".json" else ()
    names = ("transforms.json", *SPLIT_FILES.values(), *scannetpp.PLACES)
    found = [path / name for name in names if (path / name).is_file()]
    return tuple(found[:1]) or _reconstructed(path)


def _reconstructed(path: Path) -> tuple[Path, ...]:
    """The cameras that `neural reconstruct` has found; others use the name for other things."""
    file = path / "cameras.json"
    if file.is_file():
        with open(file, "rb") as start:
            if b'"format": "neural-cameras"' in start.read(64):
                return (file,)
    return ()


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read a capture's JSON; images are only probed for their size.

    Args:
        path: The JSON file, or the folder with `transforms.json` or `transforms_{train,val,test}.json`.
        downscale: Of no meaning here; the format has no reduced folders.
        missing: What to do about listed images that are not there.

    Raises:
        SceneFormatError: Names file, frame and field.
    """
    if path.is_file():
        files = {"": path}
    elif (path / "transforms.json").is_file():
        files = {"": path / "transforms.json"}
    else:
        files = {s: path / name for s, name in SPLIT_FILES.items() if (path / name).is_file()}
        files = files or {"": found_in(path)[0]}
    documents = {split: _Document(file) for split, file in files.items()}
    frames = [frame for document in documents.values() for frame in document.frames]
    source = next(iter(files.values()))
    if not frames:
        raise SceneFormatError(source, "frames: the list is empty; nothing can be trained from it")
    kept, warnings = keep_existing(source, [f.image for f in frames], missing)
    frames = [frames[i] for i in kept]
    cameras = cameras_of(frames)
    main = next(iter(documents.values()))
    points, point_warnings = main.points(kept)
    aabb = main.aabb(cameras)
    masks = tuple(f.mask for f in frames)
    return Capture(
        source=source,
        cameras=cameras,
        image_paths=tuple(f.image for f in frames),
        image_names=tuple(f.name for f in frames),
        mask_paths=masks if any(masks) else None,
        splits=main.splits() if "" in files else {s: tuple(f.name for f in d.frames) for s, d in documents.items()},
        points=points,
        aabb=aabb,
        world_to_scene=main.world_to_scene(),
        metres_per_unit=main.metres(),
        crs=main.crs(),
        axes=main.axes(),
        unbounded=None if aabb is None else False,  # a box in the file holds all there is
        warnings=(*main.notes(), *warnings, *point_warnings),
        format="Blender" if "" not in files else main.format,
    )


class _Document:
    """One JSON file, in nerfstudio's form whatever it came in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metres_per_unit: float | None = None
        self.content, folder = read_json(path), path.parent
        if not isinstance(self.content, dict) or not isinstance(self.content.get("frames"), list):
            raise SceneFormatError(path, "has no list 'frames'; is it a transforms.json?")
        self.format = _written_by(self.content)
        for name, dialect in (("ScanNet++", scannetpp), ("MatrixCity", matrixcity)):
            if (translated := dialect.translated(path, self.content)) is not None:
                self.content, folder, self.metres_per_unit = translated
                self.format = name
                break
        self.frames = frames_of(path, folder, self.content)

    def splits(self) -> dict[str, tuple[str, ...]] | None:
        """nerfstudio's train_filenames, val_filenames and test_filenames."""
        splits = {}
        for split in ("train", "val", "test"):
            listed = self.content.get(f"{split}_filenames")
            if listed is None:
                continue
            if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
                raise SceneFormatError(self.path, f"{split}_filenames is not a list of file paths")
            splits[split] = tuple(name.removeprefix("./") for name in listed)
        return splits or None

    def points(self, kept: Sequence[int]) -> tuple[Points | None, tuple[str, ...]]:
        """nerfstudio's ply_file_path and our own tracks_file_path; observations count in the kept frames."""
        file, warnings = self._beside("ply_file_path", "points")
        if file is None:
            return None, warnings
        xyz, rgb = ply.read_points(file)
        file, warnings = self._beside("tracks_file_path", "observations of points")
        if file is None:
            return Points(xyz, rgb), warnings
        return Points(xyz, rgb, observations(file, len(xyz), len(self.frames), kept)), ()

    def _beside(self, key: str, what: str) -> tuple[Path | None, tuple[str, ...]]:
        """The file that `key` names; None and a warning where it is missing."""
        name = self.content.get(key)
        if name is None:
            return None, ()
        if not isinstance(name, str):
            raise SceneFormatError(self.path, f"{key} is not a string")
        file = resolve(self.path, self.path.parent, name, key)
        if not file.is_file():
            return None, (f"{key} names {file}, which is missing; going on without {what}.",)
        return file, ()

    def world_to_scene(self) -> np.ndarray:
        """nerfstudio's applied_transform and applied_scale: from the original world to the frames'."""
        world_to_scene = np.eye(4)
        try:
            if self.content.get("applied_transform") is not None:
                applied = np.array(self.content["applied_transform"], dtype=np.float64)
                world_to_scene[:3] = applied[:3].reshape(3, 4)
            scale = float(self.content.get("applied_scale", 1.0))
        except (TypeError, ValueError, IndexError, OverflowError):
            raise SceneFormatError(self.path, "applied_transform or applied_scale is not made of numbers") from None
        world_to_scene[:3] *= scale
        if not (np.abs(world_to_scene).max() < 1e12 and np.linalg.det(world_to_scene) > 0):
            raise SceneFormatError(
                self.path,
                "applied_transform and applied_scale must be below 1e12 and keep handedness; remove them",
            )
        return world_to_scene

    def metres(self) -> float | None:
        """Our own key `metres_per_unit`, or what the file's dialect means."""
        value = self.content.get("metres_per_unit", self.metres_per_unit)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < as_float(value) < math.inf:
            raise SceneFormatError(self.path, f"metres_per_unit is {str(value)[:40]!r}, expected a positive number")
        return as_float(value)

    def notes(self) -> tuple[str, ...]:
        """Our own key `notes`: sentences that whoever uses the cameras should see."""
        value = self.content.get("notes", [])
        if not (
            isinstance(value, list) and len(value) <= 20 and all(isinstance(n, str) and len(n) < 2000 for n in value)
        ):
            raise SceneFormatError(self.path, "notes is not a short list of sentences; remove it")
        return tuple(note for note in value if note.isprintable())

    def crs(self) -> str | None:
        """Our own key `crs`: the reference system of the frames' world."""
        value = self.content.get("crs")
        if value is not None and not (isinstance(value, str) and value.isprintable() and len(value) < 4096):
            raise SceneFormatError(self.path, "crs is not a line of text; remove it")
        return value

    def axes(self) -> str:
        """Our own key `axes`: where those of the world point."""
        value = self.content.get("axes", "RDF")
        if value not in NAMES or is_mirror(("RDF", value)):
            raise SceneFormatError(self.path, f"axes is {str(value)[:40]!r}, expected three letters such as RFU or RDF")
        return str(value)

    def aabb(self, cameras: Cameras) -> np.ndarray | None:
        """The box in the file: our own key `aabb`, two corners in file units, or instant-ngp's box: `aabb_scale` unit
        cubes about the middle of its own frame, brought to file units.

        Tools write large default values whatever the scene, so the box is kept within 2.5 x the farthest
        camera.
        """
        if self.content.get("aabb") is not None:
            return self._corners(self.content["aabb"])
        if self.content.get("aabb_scale") is None:
            return None
        try:
            scale = float(self.content.get("scale", _NGP_SCALE))
            offset = np.broadcast_to(np.array(self.content.get("offset", 0.5), dtype=np.float64), 3)
            half = float(self.content["aabb_scale"]) / 2 / scale
            middle = (0.5 - offset) / scale
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            raise SceneFormatError(self.path, "aabb_scale, scale or offset is not a number") from None
        if not (half > 0 and math.isfinite(half) and np.isfinite(middle).all()):
            raise SceneFormatError(self.path, "aabb_scale and scale must be positive and finite")
        farthest = np.abs(cameras.origins.numpy() - middle).max()
        if np.isfinite(farthest) and farthest > 0:
            half = min(half, 2.5 * float(farthest))
        return np.stack([middle - half, middle + half])

    def _corners(self, value: Any) -> np.ndarray:
        try:
            box = np.array(value, dtype=np.float64)
        except (TypeError, ValueError):
            box = np.empty(0)
        if box.shape != (2, 3) or not np.isfinite(box).all() or not (box[1] > box[0]).all():
            raise SceneFormatError(
                self.path,
                "aabb must be [[x0, y0, z0], [x1, y1, z1]], finite, with x1 > x0 and so on; mend or remove it",
            )
        return box


def _written_by(content: dict[str, Any]) -> str:
    """Which of the tools that share this form wrote the file, by what only it writes."""
    if content.get("aabb_scale") is not None:
        return "instant-ngp"
    return "Blender" if "camera_angle_x" in content and "fl_x" not in content else "nerfstudio"
