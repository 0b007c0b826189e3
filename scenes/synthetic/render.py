"""Pictures and exact maps of a city from one camera."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from neural.scenes.synthetic.rigs import Rig

if TYPE_CHECKING:
    from neural.scenes.synthetic.city import City

_ROWS = 1 << 18  # rays held at once


@dataclass(frozen=True)
class Maps:
    """What lies behind the centre of every pixel, without antialiasing."""

    depth: Float32[np.ndarray, "H W"]
    """Along the camera's z axis, metres; inf for the sky."""
    distance: Float32[np.ndarray, "H W"]
    """Along the ray, metres; inf for the sky."""
    normal: Float32[np.ndarray, "H W 3"]
    """World frame, unit; 0 for the sky."""
    class_id: UInt8[np.ndarray, "H W"]
    instance_id: Int64[np.ndarray, "H W"]


def image(city: "City", rig: Rig, index: int, *, samples: int = 3) -> UInt8[np.ndarray, "H W 4"]:
    """An sRGB picture with straight alpha, 0 where the sky is.

    Args:
        samples: Rays per pixel along each axis, on a regular grid; box filter in linear light.

    A pixel without any solid holds the colour of the sky under its alpha of 0.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    result = np.empty((rig.height, rig.width, 4), np.uint8)
    offsets = (np.arange(samples) + 0.5) / samples
    step = max(1, _ROWS // (rig.width * samples * samples))
    for top in range(0, rig.height, step):
        rows = np.arange(top, min(top + step, rig.height))
        # [rows, columns, sub-rows, sub-columns]
        y = rows[:, None, None, None] + offsets[None, None, :, None]
        x = np.arange(rig.width)[None, :, None, None] + offsets[None, None, None, :]
        x, y = np.broadcast_arrays(x, y)
        hits = city.cast(*rig.rays(index, np.stack([x.ravel(), y.ravel()], axis=1)))
        solid = np.isfinite(hits.t).reshape(len(rows), rig.width, -1)
        light = hits.rgb.reshape(len(rows), rig.width, -1, 3)
        alpha = solid.mean(-1)
        weight = np.where(alpha[..., None] > 0.0, solid, True)[..., None]
        mean = (light * weight).sum(2) / weight.sum(2)
        result[rows, :, :3] = np.rint(255.0 * city.light.develop(mean))
        result[rows, :, 3] = np.rint(255.0 * alpha)
    return result


def maps(city: "City", rig: Rig, index: int) -> Maps:
    """Depth, normal, class and instance maps."""
    y, x = np.meshgrid(np.arange(rig.height) + 0.5, np.arange(rig.width) + 0.5, indexing="ij")
    origins, directions = rig.rays(index, np.stack([x.ravel(), y.ravel()], axis=1))
    hits = city.cast(origins, directions, colour=False)
    shape = (rig.height, rig.width)
    length = np.linalg.norm(directions, axis=1)
    return Maps(
        depth=hits.t.reshape(shape).astype(np.float32),
        distance=(hits.t * length).reshape(shape).astype(np.float32),
        normal=hits.normal.reshape(*shape, 3),
        class_id=hits.class_id.reshape(shape).astype(np.uint8),
        instance_id=hits.instance_id.reshape(shape),
    )
