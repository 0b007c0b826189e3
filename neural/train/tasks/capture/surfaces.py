"""What a scene trained on photographs shows, in the frame of its capture: a mesh, points, maps of depth and normals."""

import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64
from tqdm import tqdm

from neural import maps, surfaces
from neural.errors import BadOption, NotSaved
from neural.render.rendering import Rendering
from neural.scenes.files import mesh, ply
from neural.scenes.files.gaussians.axes import change, is_mirror
from neural.scenes.scene import Scene
from neural.texture import textured

Form = Literal["mesh", "points", "maps"]
ENDINGS = {"mesh": (".glb", ".ply", ".obj"), "points": (".ply",)}
RESOLUTION = 256
TEXTURE, TEXTURED_FACES = 2048, 50_000  # pixels along a side; triangles, of which some hundred pixels show each
MOST_TEXTURE = 8192  # which takes 7 GB and minutes


def export_surface(
    path: Path,
    render: Callable[..., Rendering],
    scene: Scene,
    form: Form,
    *,
    frame: str = "input",
    axes: str | None = None,
    resolution: int | None = None,
    faces: int | None = None,
    texture: int | None = None,
) -> Path:
    """Writes what the training cameras see; gives the file, of maps their `cameras.json`.

    Args:
        path: The file, of maps a folder.
        render: `render_camera` of a run.
        scene: Its capture, whose box bounds mesh and points.
        form: What is written.
        frame: "input", "scene", or axes to turn those of the input to.
        axes: Of a mesh or points; without them those of the format: LUF of a .glb, else as the frame has them.
        resolution: Voxels along the longest side of the box.
        faces: Triangles that are left; of a mesh with a texture 50,000 by default.
        texture: Pixels along a side of the texture of a .glb, 2048 by default; 0 for colours of the corners instead.

    Raises:
        BadOption: Another ending, frame or number, or nothing to see in the box.
        BackendUnavailable: Open3D is not there (maps do without).
        NotSaved: The disk refuses.
    """
    if form != "maps" and path.suffix.lower() not in ENDINGS[form]:
        raise BadOption(f"{form} are written as {' or '.join(ENDINGS[form])}, got {path}")
    if resolution is not None and not 8 <= resolution <= 4096:
        raise BadOption(f"--resolution must be between 8 and 4096, got {resolution}")
    if faces is not None and faces < 4:
        raise BadOption(f"--faces must be 4 or more, got {faces}")
    glb = form == "mesh" and path.suffix.lower() == ".glb"
    if texture is not None and not (glb and (texture == 0 or 64 <= texture <= MOST_TEXTURE)):
        raise BadOption(
            f"--texture is that of a mesh as .glb, from 64 to {MOST_TEXTURE} or 0 for none, got {texture} of {path}"
        )
    side = (TEXTURE if texture is None else texture) if glb else 0
    cameras = scene.cameras[list(scene.splits["train"])]
    back = _to_file(scene, frame, axes, ".glb" if glb else "")
    bar: Any = partial(tqdm, desc="surfaces", unit="view", leave=False)
    try:
        if form == "maps":
            if axes is not None or frame not in ("input", "scene"):
                raise BadOption("maps are in the frame input or scene, without other axes")
            scale = float(np.cbrt(np.linalg.det(back[:3, :3])))
            length = None if scene.metres_per_unit is None else scene.metres_per_unit / scale
            names = [scene.image_names[i] for i in scene.splits["train"]]
            crs = scene.crs if frame == "input" else None
            return maps.write(path, render, cameras, names, to_file=back, metres_per_unit=length, crs=crs, each=bar)
        found = _fused(
            render, cameras, scene, resolution, faces or (TEXTURED_FACES if side else None), form == "points", bar
        )
        painted: dict[str, np.ndarray] = {}
        if side:
            if faces is None and TEXTURED_FACES - 2 <= len(found.faces) <= TEXTURED_FACES:
                print(f"{path}: simplified to {len(found.faces):,} triangles; --faces keeps more", file=sys.stderr)
            each = partial(tqdm, desc="texture", leave=False)
            try:
                found, square = textured(render, cameras, found, size=side, each=each)
                painted = {"uv": square.uv, "texture": square.rgb}
            except ValueError as error:
                if texture is not None:
                    raise BadOption(f"{error}: fewer --faces, a larger --texture or --texture 0") from error
                print(f"{path}: {error}, so its corners have the colours", file=sys.stderr)
        vertices = found.vertices @ back[:3, :3].T + back[:3, 3]
        if form == "points":
            path.parent.mkdir(parents=True, exist_ok=True)
            turn = back[:3, :3] / np.cbrt(np.linalg.det(back[:3, :3]))
            ply.write_points(path, vertices, found.rgb, normals=found.normals @ turn.T)
            return path
        return mesh.write(path, vertices, found.faces, found.rgb, **painted)
    except OSError as error:
        raise NotSaved(f"{path}: cannot be written: {error.strerror}") from error


def _fused(
    render: Callable[..., Rendering], cameras: Any, scene: Scene, resolution: int | None, faces: int | None,
    points: bool, bar: Callable[[Iterable[int]], Iterable[int]],
) -> surfaces.Surface:  # fmt: skip
    try:
        return surfaces.fused(
            render, cameras, scene.aabb, resolution=resolution or RESOLUTION, faces=faces, points=points, each=bar
        )
    except ValueError as error:
        raise BadOption(str(error)) from error


def _to_file(scene: Scene, frame: str, axes: str | None, ending: str) -> Float64[np.ndarray, "4 4"]:
    """Similarity from the scene's frame to that of the file."""
    back = np.eye(4) if frame == "scene" else np.linalg.inv(scene.world_to_scene)
    named = axes or (frame if frame not in ("input", "scene") else "LUF" if ending == ".glb" else scene.axes)
    try:
        turn = np.eye(4)
        turn[:3, :3] = change((scene.axes, named))
        if is_mirror((scene.axes, named)):
            raise ValueError(f"{named} is a mirror of the scene; meshes are written in right-handed axes such as RUB")
    except ValueError as error:
        raise BadOption(f"frame must be input, scene or axes: {error}") from error
    return turn @ back
