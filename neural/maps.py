"""Depth and normal pictures of a rendered scene, one pair a camera, with a file that says which camera and how to read.

`cameras.json`: `format` "neural-maps", `version` 1, `axes` "opencv" of every camera, `metres_per_unit`, `crs`, and
`frames`: `name`, `color`, `depth`, `depth_exr`, `depth_png`, `normal` (files beside it), `depth_step` (of a value of
the PNG, in units), `c2w` [4, 4], `fx fy cx cy` (first pixel centre at 0.5), `width`, `height`. Depths are along the
view (z), 0 where there is nothing: `.npy` and `.exr` in float32, and 16-bit PNGs whose steps are as fine as the
farthest depth lets them be.
Normals are in the camera's axes, towards it: (n + 1) / 2 in 8 bits, black where there is none.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from PIL import Image

from neural import atomic, exr
from neural.cameras import Cameras
from neural.surfaces import Render, normals_of, z_depth

_STEPS = 65535


def write(
    folder: Path,
    render: Render,
    cameras: Cameras,
    names: Sequence[str],
    *,
    to_file: Float64[np.ndarray, "4 4"] | None = None,
    metres_per_unit: float | None = None,
    crs: str | None = None,
    each: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Path:
    """Writes maps of all cameras, and `cameras.json` when all of them are there; gives that.

    Args:
        folder: Where to; made if need be.
        render: Gives a camera's picture; depths are distances along rays, not divided by alpha.
        cameras: Taken as pinholes of the same field of view.
        names: Of the cameras.
        to_file: Similarity from the frame of the cameras to that of the file; lengths go with it.
        metres_per_unit: Of the file, where known.
        crs: Of the file, where known.
        each: Wraps the camera indices, for a progress bar.

    Raises:
        OSError: The disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    similarity = np.eye(4) if to_file is None else to_file
    scale = float(np.cbrt(np.linalg.det(similarity[:3, :3])))
    flat = Cameras.pinhole(cameras.c2w.double(), cameras.intrinsics.double(), cameras.sizes)
    frames: list[dict[str, Any]] = []
    for index in each(range(len(flat))):
        rgb, z = z_depth(render, flat, index)
        normals = normals_of(z, flat, index)
        depth = (z * scale).astype(np.float32)
        step = max(float(depth.max()) / _STEPS, 1e-12)
        stem = f"{index:05d}"
        whole = (normals != 0).any(-1, keepdims=True)
        pictures = {
            f"{stem}_color.png": rgb,
            f"{stem}_depth.png": np.rint(depth / step).clip(0, _STEPS).astype(np.uint16),
            f"{stem}_normal.png": np.where(whole, np.rint((normals + 1) * 127.5), 0).astype(np.uint8),
        }
        for name, picture in pictures.items():
            with atomic.replacing(folder / name) as file:
                Image.fromarray(picture).save(file, "PNG")
        with atomic.replacing(folder / f"{stem}_depth.npy") as file:
            np.save(file, depth)
        with atomic.replacing(folder / f"{stem}_depth.exr") as file:
            exr.write(file, depth)
        c2w = similarity @ flat.c2w[index].numpy()
        c2w[:3, :3] /= scale
        width, height = flat.sizes[index].tolist()
        frames.append({
            "name": names[index], "color": f"{stem}_color.png", "depth": f"{stem}_depth.npy",
            "depth_exr": f"{stem}_depth.exr", "depth_png": f"{stem}_depth.png", "depth_step": step,
            "normal": f"{stem}_normal.png", "c2w": c2w.tolist(),
            **dict(zip(("fx", "fy", "cx", "cy"), flat.intrinsics[index].tolist(), strict=True)),
            "width": width, "height": height,
        })  # fmt: skip
    head = {"format": "neural-maps", "version": 1, "axes": "opencv", "metres_per_unit": metres_per_unit, "crs": crs}
    atomic.write_json(folder / "cameras.json", {**head, "frames": frames})
    return folder / "cameras.json"
