"""How a set of cameras is arranged: what it looks at, which way is up, how far it spreads."""

import numpy as np
from jaxtyping import Float64

from neural.cameras import Cameras


def up_direction(cameras: Cameras) -> Float64[np.ndarray, "3"]:
    """Unit vector that points up in the world, as far as the cameras tell.

    People hold cameras level, so the right axes of all images lie in the horizontal plane and up is the
    direction they share nothing with. If they are all parallel (one camera position, or one flight line),
    that leaves a circle of directions and the mean top of the images decides.
    """
    axes = _axes(cameras)
    right, top, forward = axes[:, :, 0], -axes[:, :, 1], axes[:, :, 2]
    spread, directions = np.linalg.eigh(np.mean(right[:, :, None] * right[:, None, :], axis=0))
    if spread[1] < 0.02:  # right axes within about 8 degrees of each other
        mean_top = top.mean(axis=0) if np.linalg.norm(top.mean(axis=0)) > 0.1 else top[0]
        return mean_top / np.linalg.norm(mean_top)
    up = directions[:, 0]
    # Level cameras see the sky at the top of the image; nadir cameras look away from it.
    return up if (top.mean(axis=0) - 0.5 * forward.mean(axis=0)) @ up >= 0 else -up


def focus_point(cameras: Cameras) -> tuple[Float64[np.ndarray, "3"], float]:
    """The point that the optical axes pass most closely, and how well they agree on it.

    Axes that miss the point count less (Cauchy weights), so a few photographs of something else do no harm.

    Returns:
        The point, and its agreement in [0, 1]: the share of cameras whose axis passes within 15 degrees of it
        while it lies in front of them; 0 if the axes are so parallel that they meet nowhere in particular.
    """
    origins = cameras.origins.detach().cpu().double().numpy()
    forward = _axes(cameras)[:, :, 2]
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]  # projector onto the image plane
    weights = np.ones(len(origins))
    focus = origins.mean(axis=0)
    for _ in range(10):
        normal = np.einsum("c,cij->ij", weights, across)
        if np.linalg.eigvalsh(normal)[0] < 1e-3 * weights.sum():
            return focus, 0.0
        focus = np.linalg.solve(normal, np.einsum("c,cij,cj->i", weights, across, origins))
        miss = np.linalg.norm(np.einsum("cij,cj->ci", across, focus - origins), axis=1)
        weights = 1 / (1 + (miss / max(float(np.median(miss)), 1e-12)) ** 2)
    towards = focus - origins
    distance = np.linalg.norm(towards, axis=1)
    cosine = np.einsum("ci,ci->c", towards, forward) / np.maximum(distance, 1e-12)
    return focus, float(np.mean(cosine > np.cos(np.radians(15))))


def camera_radius(cameras: Cameras) -> float:
    """Largest distance of a camera from the mean of all cameras, in scene units."""
    origins = cameras.origins.detach().cpu().double().numpy()
    return float(np.linalg.norm(origins - origins.mean(axis=0), axis=1).max())


def _axes(cameras: Cameras) -> Float64[np.ndarray, "C 3 3"]:
    """Columns: right, down, forward of every camera in the world."""
    return cameras.c2w[:, :3, :3].detach().cpu().double().numpy()
