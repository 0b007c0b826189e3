"""Which way is up in a reconstruction, from how cameras were held and from the ground that they look at."""

import numpy as np
from jaxtyping import Float64

from neural.arrangement import up_direction
from neural.cameras import Cameras

# EXIF orientation -> where right and down of the upright picture point in the stored one (columns: x right, y down)
_UPRIGHT = {
    1: ((1, 0), (0, 1)), 2: ((-1, 0), (0, 1)), 3: ((-1, 0), (0, -1)), 4: ((1, 0), (0, -1)),
    5: ((0, 1), (1, 0)), 6: ((0, -1), (1, 0)), 7: ((0, -1), (-1, 0)), 8: ((0, 1), (-1, 0)),
}  # fmt: skip
_DOWNWARD = 0.85  # length of the mean viewing direction above which all look the same way
_TURNED = 0.3  # length of the mean top of pictures below which they were not held one way
_NEAR_PLANE = 0.02  # of the points' spread


def candidates(
    cameras: Cameras, orientations: list[int], points: Float64[np.ndarray, "P 3"]
) -> list[Float64[np.ndarray, "3"]]:
    """Directions that may be up, the likeliest first; unit vectors.

    Args:
        cameras: With the axes of the stored pictures.
        orientations: Of EXIF, one per camera.
        points: That the cameras see.
    """
    held = upright(cameras, orientations)
    axes = held.c2w[:, :3, :3].numpy()
    forward, top = axes[:, :, 2].mean(axis=0), -axes[:, :, 1].mean(axis=0)
    level = up_direction(held)
    found = [level]
    if np.linalg.norm(forward) > _DOWNWARD:
        away = -forward / np.linalg.norm(forward)
        ground = _plane_normal(points, away)
        downward = [away] if ground is None else [ground, away]
        found = [*downward, level] if np.linalg.norm(top) < _TURNED else [level, *downward]
    return found


def upright(cameras: Cameras, orientations: list[int]) -> Cameras:
    """The cameras as if the stored pictures had been turned upright; only the axes change."""
    c2w = cameras.c2w.clone()
    for index, orientation in enumerate(orientations):
        if orientation == 1:
            continue
        right, down = _UPRIGHT[orientation]
        axes = cameras.c2w[index, :3, :3]
        x, y = (axes[:, 0] * a + axes[:, 1] * b for a, b in (right, down))
        c2w[index, :3, 0], c2w[index, :3, 1] = (
            x,
            y,
        )  # z stays: a mirrored picture has left-handed axes, which do no harm
    return cameras.posed(c2w)


def _plane_normal(points: Float64[np.ndarray, "P 3"], towards: Float64[np.ndarray, "3"]) -> np.ndarray | None:
    """Normal of the plane that most points lie near, if it is within 30 degrees of a direction."""
    if len(points) < 50:
        return None
    generator = np.random.default_rng(0)
    middle = np.median(points, axis=0)
    near = points[np.linalg.norm(points - middle, axis=1) < 4 * np.median(np.linalg.norm(points - middle, axis=1))]
    chosen = near[generator.choice(len(near), min(len(near), 4000), replace=False)]
    tolerance = _NEAR_PLANE * float(np.linalg.norm(chosen - np.median(chosen, axis=0), axis=1).max())
    best, most = None, 0
    for _ in range(300):
        a, b, c = chosen[generator.choice(len(chosen), 3, replace=False)]
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal)
        if length < 1e-12:
            continue
        normal = normal / length * (1 if normal @ towards >= 0 else -1)
        if normal @ towards < np.cos(np.radians(30)):
            continue
        count = int((np.abs((chosen - a) @ normal) < tolerance).sum())
        if count > most:
            best, most = (a, normal), count
    if best is None or most < 0.2 * len(chosen):
        return None
    inside = chosen[np.abs((chosen - best[0]) @ best[1]) < tolerance]
    normal = np.linalg.svd(inside - inside.mean(axis=0), full_matrices=False)[2][2]
    return normal * (1 if normal @ towards >= 0 else -1)
