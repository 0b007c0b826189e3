"""Numbers that a page needs of a scene: how large it is, which way is up, where to stand and what to turn about.

All of it in the frame of the record, OpenCV axes, scene units.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from neural.arrangement import up_direction
from neural.cameras import Cameras
from neural.scenes.files.gaussians.record import SplatRecord

_LOOKED_AT = 20_000  # Gaussians that distances are estimated from
_SOLID = 0.0  # logit of the least opacity that counts as something to look at
_NEARER = 0.3  # share of what a camera has in the middle of its picture that lies before its focus
_MOST_UNITS = 1000.0  # to which the farthest Gaussian is scaled: the page's file holds 2048, to 1/4096
_LARGEST = 200.0  # to which the largest standard deviation is scaled: the file holds 380


@dataclass(frozen=True)
class Outlook:
    """What `outlook` finds.

    Attributes:
        centre: Of most Gaussians.
        extent: Radius about it that holds most of them.
        scale: Page units per scene unit, so that the file's steps are fine enough and its ranges wide enough.
        up: Unit vector.
        focus: Distance, along its axis, of what each camera looks at.
        reach: Radius about the centre that holds everything.
    """

    centre: Float64[np.ndarray, "3"]
    extent: float
    scale: float
    up: Float64[np.ndarray, "3"]
    focus: Float64[np.ndarray, "C"]
    reach: float


def outlook(record: SplatRecord, cameras: Cameras | None, up: Float64[np.ndarray, "3"] | None = None) -> Outlook:
    """See `Outlook`; without `up` as the cameras are held, and without them -y, as OpenCV axes have."""
    means = record.means.astype(np.float64)
    seen = means[_sample(record)]
    centre = np.median(seen, axis=0)
    distances = np.linalg.norm(seen - centre, axis=1)
    extent = max(float(np.quantile(distances, 0.9)), 1e-12)
    reach = float(np.linalg.norm(means - centre, axis=1).max())
    if cameras is not None and len(cameras):
        places = cameras.origins.double().numpy() - centre
        reach = max(reach, float(np.linalg.norm(places, axis=1).max()))
        up = up_direction(cameras) if up is None else up
        focus = _focus(seen, cameras, extent)
    else:
        up, focus = np.array([0.0, -1.0, 0.0]) if up is None else up, np.zeros(0)
    largest = float(np.exp(record.log_scales.max(), dtype=np.float64))
    scale = min(_MOST_UNITS / max(reach, 1e-12), _LARGEST / largest)
    return Outlook(centre, extent, scale, up, focus, max(reach, extent))


def first_view(found: Outlook) -> dict[str, Any]:
    """Where to stand in a scene without cameras: a little above, all of it in view; upright."""
    axis = np.eye(3)[np.argmin(np.abs(found.up))]
    right = axis - (axis @ found.up) * found.up
    right /= np.linalg.norm(right)
    forward = (np.cross(found.up, right) - 0.35 * found.up) / np.hypot(0.35, 1.0)
    distance = 2.8 * found.extent
    c2w = np.column_stack([right, np.cross(forward, right), forward, found.centre - distance * forward])
    return {"c2w": c2w, "intrinsics": [1.2, 1.2, 0.8, 0.5], "size": [1.6, 1.0], "focus": distance}


def _sample(record: SplatRecord) -> Bool[np.ndarray, "N"]:
    """A mask of some of what can be seen; of everything where nothing can."""
    solid = record.opacity_logits > _SOLID
    if not solid.any():
        solid = np.ones(len(record), dtype=bool)
    stride = -(-int(solid.sum()) // _LOOKED_AT)
    return solid & ((np.cumsum(solid) - 1) % stride == 0)


def _focus(points: Float64[np.ndarray, "P 3"], cameras: Cameras, extent: float) -> Float64[np.ndarray, "C"]:
    """Depth of the nearer part of what each camera has in the middle half of its picture."""
    focus = np.full(len(cameras), extent)
    for index, w2c in enumerate(cameras.w2c.double().numpy()):
        local = points @ w2c[:3, :3].T + w2c[:3, 3]
        fx, fy = cameras.intrinsics[index, :2].double().tolist()
        width, height = cameras.sizes[index].double().tolist()
        depth = np.maximum(local[:, 2], 1e-9)
        inside = (np.abs(local[:, 0] / depth) < width / fx / 4) & (np.abs(local[:, 1] / depth) < height / fy / 4)
        ahead = local[inside & (local[:, 2] > 0.02 * extent), 2]
        if len(ahead):
            focus[index] = np.quantile(ahead, _NEARER)
    return focus
